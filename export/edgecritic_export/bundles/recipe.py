"""An export's folder belongs to one checkpoint and one way of exporting it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.folder import Checkpoint

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
        "checkpoint": fingerprint(checkpoint),
        "settings": {name: _digest(value) for name, value in settings.items()},
    }
    path = out / RECIPE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
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


def fingerprint(checkpoint: Checkpoint) -> str:
    """Names a checkpoint by its settings and its tensors' names, types, shapes and samples.

    Hashing all of a large checkpoint would take longer than exporting it; a few values of every
    tensor change whenever training does.
    """
    digest = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for name in sorted(checkpoint.store.names):
        dtype, bits = checkpoint.store.read_raw(name)
        flat = bits.reshape(-1)
        sample = flat[:: max(1, flat.size // 64)]
        digest.update(f"{name} {dtype} {checkpoint.store.shape(name)}".encode())
        digest.update(np.ascontiguousarray(sample).tobytes())
    return digest.hexdigest()


def _digest(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        parts = asdict(value)
        return _digest({name: _digest(part) for name, part in parts.items()})
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return _digest(sorted((str(key), _digest(part)) for key, part in value.items()))
    return hashlib.sha256(repr(value).encode()).hexdigest()
