"""Which layers of a four-bit decoder stay at eight bits: those whose rounding moves verdicts most.

Layers differ by a factor of a hundred in what four bits do to the critic's answers, and by less
between algorithms of rounding. So the choice is measured, on the critic's own prompts with their
pictures: each layer alone at four bits among eight-bit ones, then the worst ones together.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import InputError
from edgecritic.graphs.precision import DecoderPrecision
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder
from edgecritic_export.onnx.importance import measure_importance
from edgecritic_export.onnx.options import LayerChoice, QuantizationLimits
from edgecritic_export.onnx.ort import DecoderSession
from edgecritic_export.onnx.protobuf import onnx
from edgecritic_export.onnx.rows import EmbeddedRow

FloatArray: TypeAlias = NDArray[np.float32]

logger = logging.getLogger(__name__)


def usual_eight_bit(n_layers: int) -> tuple[int, ...]:
    """Layers to keep when there is nothing to measure with: the outer ones and every third.

    Source: llama.cpp's rule for the larger types of its K mixes.
    """
    edge = n_layers // 8
    return tuple(
        layer
        for layer in range(n_layers)
        if layer < edge or layer >= n_layers - edge or (layer - edge) % 3 == 2
    )


def choose_eight_bit(
    checkpoint: Checkpoint,
    rows: Sequence[EmbeddedRow],
    folder: Path,
    limits: QuantizationLimits | None = None,
) -> LayerChoice:
    """Measure which layers need eight bits.

    The reference is the decoder with eight bits everywhere, which fits where a float32 one does
    not: what is chosen between here is eight bits and four. As many of the worst layers as it
    takes are kept, until the whole is within the limit.

    Args:
        checkpoint: of the critic.
        rows: prompts of the kind that the critic will read; a few dozen positions are enough.
        folder: room for an eight-bit and a four-bit decoder, which are removed again.
        limits: how far to go.

    Raises:
        InputError: there are no rows.
    """
    limits = limits or QuantizationLimits()
    if not rows:
        raise InputError("there are no calibration rows", "give at least one prompt")
    n_layers = checkpoint.text.n_layers
    made_by = f".{os.getpid()}"
    with tempfile.TemporaryDirectory(made_by, ".calibration-", folder) as made:
        mixes = _Mixes(checkpoint, Path(made), rows, limits.n_threads)
        alone = tuple(mixes.kl(frozenset(range(n_layers)) - {layer}) for layer in range(n_layers))
        worst_first = sorted(range(n_layers), key=lambda layer: -alone[layer])
        logger.info("layers by their harm at four bits: %s", worst_first)
        most = int(limits.max_eight_bit * n_layers)
        step = max(1, n_layers // 16)
        for n_kept in sorted({*range(0, most, step), most}):
            kept = tuple(sorted(worst_first[:n_kept]))
            kl = mixes.kl(frozenset(kept))
            logger.info("eight bits in %d layers: KL %.5f", n_kept, kl)
            if kl <= limits.max_kl:
                break
        return LayerChoice(alone, kept, kl, mixes.importance)


class _Mixes:
    """Decoders that mix layers of two files; their weights are shared, not written again."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        folder: Path,
        rows: Sequence[EmbeddedRow],
        n_threads: int | None,
    ) -> None:
        n_layers = checkpoint.text.n_layers
        self._rows = rows
        self._n_threads = n_threads
        self._candidate = folder / "candidate.onnx"
        eight, four = folder / "eight.onnx", folder / "four.onnx"
        precision = DecoderPrecision.mixed(n_layers, range(n_layers))
        write_decoder(checkpoint, eight, precision, external=True)
        self.importance = measure_importance(eight, rows, n_threads=n_threads)
        precision = DecoderPrecision.mixed(n_layers, ())
        write_decoder(checkpoint, four, precision, importance=self.importance, external=True)
        self._eight, self._four = (
            onnx.load(path, load_external_data=False) for path in (eight, four)
        )
        self._reference = self._log_probs(eight)

    def kl(self, eight_bit: Collection[int]) -> float:
        """Mean divergence with eight bits in these layers only."""
        mixed = onnx.ModelProto()
        mixed.CopyFrom(self._eight)
        del mixed.graph.node[:], mixed.graph.initializer[:]

        def from_eight(name: str) -> bool:
            layer = _layer(name)
            return layer is None or layer in eight_bit

        # Both were written in the same order.
        for eight, four in zip(self._eight.graph.node, self._four.graph.node, strict=True):
            mixed.graph.node.append(eight if from_eight(eight.name) else four)
        for model, wanted in ((self._eight, True), (self._four, False)):
            weights = (it for it in model.graph.initializer if from_eight(it.name) == wanted)
            mixed.graph.initializer.extend(weights)
        self._candidate.write_bytes(mixed.SerializeToString())
        found = self._log_probs(self._candidate)
        return float(np.mean((np.exp(self._reference) * (self._reference - found)).sum(axis=-1)))

    def _log_probs(self, model: Path) -> NDArray[np.float64]:
        """(positions of all rows, n_vocab) float64."""
        session = DecoderSession(model, n_threads=self._n_threads)
        logits = [session.logits(row.embeddings, row.positions) for row in self._rows]
        return log_softmax(np.concatenate(logits))


def _layer(name: str) -> int | None:
    """The layer that a node or weight belongs to."""
    if not name.startswith("model.layers."):
        return None
    return int(name.split(".")[2])


def log_softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Log-probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
