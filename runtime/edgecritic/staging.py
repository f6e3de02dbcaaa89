"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

_TEMPORARY: Final = re.compile(r"\..+\.\d+")


def temporary(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left of `temporary` paths below a folder.

    The caller holds a lock that all who write there hold.
    """
    for path in sorted(folder.rglob(".*")):
        if _TEMPORARY.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def synced(file: IO[bytes] | IO[str]) -> None:
    """Have everything written so far on the disk."""
    file.flush()
    os.fsync(file.fileno())


def bytes_written(path: Path) -> int:
    """What there is of a file by now, under its temporary name or its own, in bytes.

    Files that accompany it under a name that begins with its own count as well.
    """
    written = 0
    for other in path.parent.glob(f"*{glob.escape(path.name)}*"):
        if other.name.startswith((path.name, f".{path.name}")):
            with suppress(FileNotFoundError):  # renamed since it was listed
                written += other.stat().st_size
    return written


def write_text(path: Path, text: str) -> None:
    """Write a small file in one step or not at all."""
    unfinished = temporary(path)
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            synced(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def existing(path: Path) -> Path:
    """The folder that is there already of those above a path, itself included."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def link(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`.

    Returns:
        Whether that could be done: not across disks, nor without a source.
    """
    unfinished = temporary(target)
    unfinished.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), unfinished)
    except OSError:
        return False
    unfinished.replace(target)
    return True


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder for what is needed only until `beside` is there; then it is removed.

    What an earlier, killed run left of it is removed first.
    """
    scratch = beside.with_name(f".{beside.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A folder to fill that takes the place `out` when the block ends without an error.

    Args:
        out: does not exist, or is empty.
    """
    with scratch_folder(out) as unfinished:
        yield unfinished
        if out.is_dir():
            out.rmdir()  # an empty folder gives way, one with files raises
        unfinished.replace(out)
