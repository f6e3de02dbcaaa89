"""From a set of judged items to what the four-bit decoder is calibrated with."""

from __future__ import annotations

from pathlib import Path

from edgecritic.backends import load_backend
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.profile import CriticProfile
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import critic_rows
from edgecritic_export.onnx.options import LayerChoice, QuantizationLimits
from edgecritic_export.onnx.quantize import choose_eight_bit
from edgecritic_export.onnx.rows import embedded_row


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
    return choose_eight_bit(checkpoint, rows, work, limits)
