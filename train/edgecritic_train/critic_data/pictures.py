"""Pictures that come inside tables, kept as files named by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecritic_train.critic_data.rows import ImageFile
from edgecritic_train.critic_data.writing import write_bytes

_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


class PictureStore:
    """A folder of pictures; equal ones are kept once.

    Args:
        folder: made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()

    def put(self, data: bytes) -> ImageFile:
        """Keep the bytes of an image file as they are; they are not decoded here.

        Raises:
            ArtifactError: the disk is full.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest[:2] / (digest + _suffix(data))
        if digest not in self._known:
            if not path.is_file() or path.stat().st_size != len(data):
                write_bytes(path, data)
            self._known.add(digest)
        return ImageFile(path)


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), ".img")
