"""Checkpoints that are whole or do not count.

transformers writes a checkpoint file by file. A run that is killed meanwhile leaves a folder that
looks like a checkpoint, is the newest, and cannot be loaded. So a marker that lists every file is
written last, and only folders that agree with their marker are gone on from.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

MARKER: Final = "complete.json"
_NAME: Final = re.compile(r"checkpoint-(\d+)")


def mark_complete(folder: Path) -> None:
    """Bring all files of a checkpoint to the disk, then write its marker."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MARKER:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_whole(folder / MARKER, json.dumps({"files": sizes}, indent=1))


def is_complete(folder: Path) -> bool:
    """Whether every file that the marker lists is there, as long as it was."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was written; -1 for other folders."""
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def newest_complete(run: Path) -> Path | None:
    """The checkpoint to go on from; incomplete ones are passed over with a remark."""
    found = sorted((path for path in run.glob("checkpoint-*") if step_of(path) >= 0), key=step_of)
    for folder in reversed(found):
        if is_complete(folder):
            return folder
        logger.warning("%s is not whole and is passed over", folder)
    return None


def prune(run: Path, keep: int) -> None:
    """Remove checkpoints but the newest `keep` whole ones, and what is older and not whole."""
    found = sorted(
        (path for path in run.glob("checkpoint-*") if step_of(path) >= 0), key=step_of, reverse=True
    )
    whole = [folder for folder in found if is_complete(folder)]
    if not whole:
        return
    for folder in found:
        if folder not in whole[:keep] and step_of(folder) <= step_of(whole[0]):
            (folder / MARKER).unlink(missing_ok=True)  # half removed, it must not count
            shutil.rmtree(folder)


def drop_newer(run: Path, step: int) -> None:
    """Remove checkpoints after `step`: leftovers of a run that is repeated from there."""
    for folder in run.glob("checkpoint-*"):
        if step_of(folder) > step:
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder)


def write_whole(path: Path, text: str) -> None:
    """Write a small file in one step or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def replace_folder(part: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one; at any moment one of them is whole.

    `restore_folder` undoes a replacement that was interrupted.
    """
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Bring back what an interrupted `replace_folder` had put aside."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)
