"""From a set of judged items to what the four-bit decoder is calibrated with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgecritic.backends import load_backend
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.profile import CriticProfile
from edgecritic.staging import temporary
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import critic_rows
from edgecritic_export.onnx.options import LayerChoice, QuantizationLimits
from edgecritic_export.onnx.quantize import choose_eight_bit
from edgecritic_export.onnx.rows import embedded_row

_IMPORTANCE: Final = "importance/"


def write_choice(choice: LayerChoice, path: Path) -> None:
    """Keep a choice in a file, in one step or not at all."""
    arrays: dict[str, Any] = {
        "alone": np.array(choice.alone),
        "eight_bit": np.array(choice.eight_bit, dtype=np.int64),
        "kl": np.array(choice.kl),
        "measured_on": np.array(choice.measured_on),
        **{f"{_IMPORTANCE}{name}": means for name, means in choice.importance.items()},
    }
    unfinished = temporary(path)
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(path)


def read_choice(path: Path) -> LayerChoice:
    """What `write_choice` wrote."""
    with np.load(path, allow_pickle=False) as found:
        return LayerChoice(
            tuple(found["alone"].tolist()),
            tuple(found["eight_bit"].tolist()),
            float(found["kl"]),
            {
                name.removeprefix(_IMPORTANCE): found[name]
                for name in found.files
                if name.startswith(_IMPORTANCE)
            },
            str(found["measured_on"]),
        )


def calibrate(
    checkpoint: Checkpoint,
    bundle: Bundle,
    items: Path,
    work: Path,
    *,
    limit: int = 12,
    limits: QuantizationLimits | None = None,
) -> LayerChoice:
    """Lay out judgements with their pictures, and measure the decoder's layers on them.

    Args:
        checkpoint: of the critic.
        bundle: an ONNX export of the same checkpoint in any variant but q4; it tokenizes and
            encodes the pictures.
        items: an evaluation set, with ``items.jsonl``, that the critic was not trained on.
        work: a folder with room for an eight-bit and a four-bit decoder.
        limit: items to use.
        limits: how far the four-bit decoder may go.

    Returns:
        For `OnnxOptions.choice`.

    Raises:
        CriticError: the items cannot be read or do not fit the critic.
    """
    limits = limits or QuantizationLimits()
    options = EngineOptions(n_ctx=bundle.manifest.n_ctx, n_threads=limits.n_threads)
    backend = load_backend(bundle, "onnx", options)
    try:
        laid = critic_rows(items, backend, CriticProfile.of(bundle, "onnx"), limit=limit)
        rows = [embedded_row(checkpoint, row.spans, row.answer_length) for row in laid]
    finally:
        backend.close()
    choice = choose_eight_bit(checkpoint, rows, work, limits)
    return replace(choice, measured_on=f"{len(rows)} judgements with pictures, of {items.name}")
