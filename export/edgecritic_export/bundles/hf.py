"""A checkpoint as a bundle that transformers runs: the reference for all other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from edgecritic import Bundle
from edgecritic.bundle import MANIFEST, describe_file, write_bundle
from edgecritic.manifest import BundleFile, Role
from edgecritic.staging import link
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import source_type
from edgecritic_export.bundles.recipe import RECIPE, claim
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.provenance import fingerprint
from edgecritic_export.progress import SILENCE, Progress

NEWLINE: Final = "image_newline.npy"
_ROLES: Final[dict[str, Role]] = {
    ".safetensors": "checkpoint",
    **dict.fromkeys((".json", ".txt", ".jinja", ".model"), "config"),
}
_ADAPTER: Final = "adapter"


def export_hf(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    adapter: Path | None = None,
    progress: Progress = SILENCE,
) -> Bundle:
    """Make a bundle of a checkpoint's own files, linked where the disk can and else copied.

    Args:
        checkpoint: open.
        out: folder of the bundle; if it is one already, nothing is done.
        facts: what the manifest says.
        adapter: folder of a LoRA adapter of this checkpoint that transformers shall apply, or
            None.
        progress: is told what goes on.

    Raises:
        ArtifactError: the folder holds an export of something else.
    """
    claim(out, checkpoint, {} if adapter is None else {"adapter": fingerprint(adapter)})
    if (out / MANIFEST).exists():
        return Bundle.read(out)
    progress(f"linking {checkpoint.folder} to {out}")
    sources = {
        **_plain_files(checkpoint.folder),
        **{f"{_ADAPTER}/{name}": path for name, path in _plain_files(adapter).items()},
    }
    newline = checkpoint.image_newline
    if newline is not None:
        np.save(out / NEWLINE, newline)
    for name, path in sources.items():
        (out / name).parent.mkdir(exist_ok=True)
        link(path, out / name)  # where it cannot, `write_bundle` copies
    files = [_described(name, path, source_type(checkpoint)) for name, path in sources.items()]
    if newline is not None:
        sources[NEWLINE] = out / NEWLINE
        files.append(describe_file("image_newline", out / NEWLINE))
    progress(f"{out / MANIFEST} completes the bundle")
    return write_bundle(out, facts.manifest(checkpoint, tuple(files)), sources)


def _described(name: str, path: Path, weights: str) -> BundleFile:
    role = _ROLES[path.suffix]
    return describe_file(role, path, name, weights if role == "checkpoint" else "")


def _plain_files(folder: Path | None) -> dict[str, Path]:
    """The files of a folder that transformers or PEFT may read, by name."""
    if folder is None:
        return {}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix in _ROLES
        and path.name not in (MANIFEST, RECIPE)
    }
