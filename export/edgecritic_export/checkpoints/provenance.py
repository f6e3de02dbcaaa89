"""What a derived checkpoint was made from, so that a second run knows that it has nothing to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError
from edgecritic.staging import existing, write_text
from edgecritic_export.checkpoints.folder import read_json

RECORD: Final = "edgecritic-checkpoint.json"
_SMALL: Final = 64 * 1024 * 1024
_DISK_MARGIN: Final = 64 * 1024 * 1024


def fingerprint(*folders: Path) -> str:
    """Names the content of checkpoint folders, without reading their weights.

    Small files count by their content, weights by size and time of their last change.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name.startswith(".") or path.name == RECORD:
                continue
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0".encode())
            if path.suffix == ".safetensors" or status.st_size > _SMALL:
                digest.update(f"{status.st_mtime_ns}\0".encode())
            else:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def finished(out: Path, inputs: Mapping[str, object]) -> dict[str, Any] | None:
    """What `out` was made with these very inputs said of itself; None if it is still to be made.

    Raises:
        ArtifactError: the folder holds something else.
    """
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out} is a file", "name another folder")
    if not out.is_dir() or not any(out.iterdir()):
        return None
    record = read_json(out / RECORD) if (out / RECORD).is_file() else {}
    if record.get("inputs") == inputs and isinstance(record.get("result"), dict):
        return dict(record["result"])
    raise ArtifactError(
        f"{out} holds files already, and they were not made from this source with these options",
        "name another folder, or remove this one",
    )


def write_record(folder: Path, inputs: Mapping[str, object], result: Mapping[str, object]) -> None:
    """Write the record that `finished` looks for."""
    record = {"inputs": inputs, "result": result}
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def recorded_origin(folder: Path) -> str:
    """``owner/name@commit`` that an import was told; empty without one."""
    return _recorded(folder, "origin")


def recorded_base(folder: Path) -> str:
    """What the checkpoint was made from, as its import or merge was told; empty if nobody was."""
    return _recorded(folder, "base_model") or recorded_origin(folder)


def _recorded(folder: Path, key: str) -> str:
    if not (folder / RECORD).is_file():
        return ""
    result = read_json(folder / RECORD).get("result")
    found = result.get(key) if isinstance(result, dict) else None
    return found if isinstance(found, str) else ""


def check_disk(out: Path, nbytes: int) -> None:
    """Check that as many bytes of weights fit.

    Raises:
        ArtifactError: they do not.
    """
    folder = existing(out)
    free = shutil.disk_usage(folder).free
    if free < nbytes + _DISK_MARGIN:
        raise ArtifactError(
            f"{out} needs {nbytes / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB left",
            "free some space, or name a folder on another disk",
        )
