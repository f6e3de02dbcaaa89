"""An export's folder belongs to one checkpoint and one way of exporting it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from edgecritic.errors import ArtifactError
from edgecritic.staging import write_text
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.provenance import fingerprint

RECIPE = "export.json"


def claim(out: Path, checkpoint: Checkpoint, settings: Mapping[str, object]) -> None:
    """Note in a folder what is exported to it; files of another export must not mix with these.

    Args:
        out: made if need be.
        checkpoint: what is exported.
        settings: whatever else changes the files' content.

    Raises:
        ArtifactError: the folder holds another export.
    """
    recipe = {
        "checkpoint": fingerprint(checkpoint.folder),
        "settings": {name: _digest(value) for name, value in settings.items()},
    }
    path = out / RECIPE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(recipe, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read: {error}", "remove the folder") from error
    if found != recipe:
        other = "of another checkpoint"
        if found.get("checkpoint") == recipe["checkpoint"]:
            other = "with other settings"
        raise ArtifactError(
            f"{out} holds an export {other}",
            "name another --out, or remove the folder",
        )


def _digest(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        parts = asdict(value)
        return _digest({name: _digest(part) for name, part in parts.items()})
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return _digest(sorted((str(key), _digest(part)) for key, part in value.items()))
    return hashlib.sha256(repr(value).encode()).hexdigest()
