"""Files that are written whole or not at all, and what is said where a disk is full."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from edgecritic.errors import ArtifactError
from edgecritic.locking import exclusive

LOCK: Final = ".lock"
"""Held by the one process, or group of processes, that works in a folder."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what cannot be written.

    Raises:
        ArtifactError: in place of `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or name another folder, and run the command again",
        ) from error


def close_flushed(file: BinaryIO) -> None:
    """Close a file that was flushed; where that had failed, it is told already.

    Closing tries again to write what is left, and its own error would hide the one that is told.
    """
    with suppress(OSError):
        file.close()


@contextmanager
def alone(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Make a folder and work in it; another process that does so, too, waits.

    Args:
        folder: made if need be.
        tell: is told if somebody else is there.

    Raises:
        ArtifactError: the folder cannot be written to.
    """
    with ExitStack() as held:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            waiting = partial(tell, "waiting for another process")
            held.enter_context(exclusive(folder / LOCK, waiting))
        yield


@contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends well.

    Args:
        path: of the file; its folder is made.
        flush: it is on the disk then; otherwise when the system comes to it.

    Raises:
        ArtifactError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("wb")
        try:
            yield file
            with writing(path):
                file.flush()
                if flush:
                    os.fsync(file.fileno())
        finally:
            close_flushed(file)
        with writing(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a report for programs.

    Raises:
        ArtifactError: it cannot be written.
    """
    with replacing(path) as file, writing(path):
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def write_bytes(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Write a file; see `replacing`.

    Raises:
        ArtifactError: it cannot be written.
    """
    with replacing(path, flush=flush) as file, writing(path):
        file.write(content)
