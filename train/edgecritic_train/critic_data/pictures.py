"""Pictures that come inside tables, kept as files named by their content."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgecritic_train.critic_data.rows import CriticRow, ImageFile
from edgecritic_train.critic_data.writing import write_bytes

_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


class PictureStore:
    """A folder of pictures; equal ones are kept once.

    Args:
        folder: made when the first picture comes.
        at_once: each picture is on the disk when `put` returns. Otherwise when `settled` ends: to
            wait for the disk takes longer than to draw a picture, and many processes wait in turn.
    """

    def __init__(self, folder: Path, *, at_once: bool = True) -> None:
        self.folder = folder
        self._at_once = at_once
        self._known: set[str] = set()

    def put(self, data: bytes) -> ImageFile:
        """Keep the bytes of an image file as they are; they are not decoded here.

        Raises:
            ArtifactError: the disk is full.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / digest[:2] / (digest + _suffix(data))
        if digest not in self._known:
            # After a power cut, a file may have its size and not its content.
            if not path.is_file() or path.read_bytes() != data:
                write_bytes(path, data, flush=self._at_once)
            self._known.add(digest)
        return ImageFile(path)

    def settled(self, rows: Iterable[CriticRow]) -> Iterator[CriticRow]:
        """The rows; behind the last one, their pictures are on the disk, whoever put them."""
        yield from rows
        if not self._at_once and sys.platform != "win32":
            os.sync()


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), ".img")
