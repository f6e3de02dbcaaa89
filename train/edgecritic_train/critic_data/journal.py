"""A file to which entries are only ever appended: what a stage resumes from, and its log.

One JSON object a line, each on the disk before the next one is begun. A line that a crash cut off
is passed over, and what it would have told is found out again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Protocol, Self, TypeVar

from edgecritic.errors import ArtifactError
from edgecritic_train.critic_data.writing import close_flushed, writing


class Keyed(Protocol):
    """An entry, known by the hash of all that it depends on."""

    @property
    def key(self) -> str: ...


Kept = TypeVar("Kept", bound=Keyed)


class Journal(Generic[Kept]):
    """A file of entries that is open for appending. Several threads may append.

    Args:
        path: of the file; its folder is made.
        read: makes an entry of a line's object; `ValueError`, `TypeError` and `KeyError` say that
            it is none.
        write: the inverse.
        reuse: further files whose entries count, such as those of earlier runs.

    Raises:
        ArtifactError: a file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Mapping[str, Any]], Kept],
        write: Callable[[Kept], Mapping[str, Any]],
        reuse: tuple[Path, ...] = (),
    ) -> None:
        self._lock = Lock()
        self._path = path
        self._write = write
        self.entries: dict[str, Kept] = {}
        self.n_torn = 0
        try:
            for known in (*reuse, *((path,) if path.exists() else ())):
                self._take(known, read)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            if self._file.tell() and not _ends_with_newline(path):
                self._file.write(b"\n")
        except OSError as error:
            raise ArtifactError(
                f"the ledger {error.filename or path} cannot be used: {error.strerror or error}",
                "check the path, its rights, and the space on its disk",
            ) from error

    def get(self, key: str) -> Kept | None:
        """The last entry with a key."""
        return self.entries.get(key)

    def append(self, entry: Kept) -> None:
        """Write an entry, on the disk when this returns.

        Raises:
            ArtifactError: the disk is full. What was written before is kept.
        """
        line = json.dumps(self._write(entry), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self.entries[entry.key] = entry
            with writing(self._path):
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        close_flushed(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _take(self, path: Path, read: Callable[[Mapping[str, Any]], Kept]) -> None:
        with path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    entry = read(json.loads(line))
                except (ValueError, TypeError, KeyError):  # cut off by a crash
                    self.n_torn += 1
                    continue
                self.entries[entry.key] = entry


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
