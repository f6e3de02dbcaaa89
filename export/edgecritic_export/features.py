"""Image features as a bundle's files give them, for comparison with the model in training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgecritic import Bundle, InputError
from edgecritic.backends import load_backend
from edgecritic.backends.base import FloatArray
from edgecritic.backends.options import EngineOptions
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile


def bundle_features(
    bundle: Bundle, folder: Path, *, limit: int | None = None, threads: int | None = None
) -> dict[str, FloatArray]:
    """Packed image tokens of an evaluation set's pictures.

    Args:
        bundle: a critic with a vision tower.
        folder: the evaluation set, with ``items.jsonl``.
        limit: items to read; None for all.
        threads: of computation; the physical cores when left out.

    Returns:
        (n_tokens, n_embd) float32 by the picture's path in the set.

    Raises:
        CriticError: the bundle or the set cannot be used.
    """
    options = EngineOptions(n_ctx=bundle.manifest.n_ctx, n_threads=threads)
    names = list(_pictures(folder, limit))
    backend = load_backend(bundle, "auto", options)
    try:
        encoder = PictureEncoder(backend, CriticProfile.of(bundle).vision)
        return {name: encoder.spans(folder / name)[0].features for name in names}
    finally:
        backend.close()


def _pictures(folder: Path, limit: int | None) -> Iterator[str]:
    try:
        lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines[:limit]:
            yield from json.loads(line)["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no evaluation set: {error!r}", "write one with: edgecritic train items"
        ) from error


def save_features(features: dict[str, FloatArray], out: Path) -> None:
    """Write an ``.npz`` that `edgecritic bench parity --features` reads."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        np.savez(file, **cast(dict[str, Any], features))
