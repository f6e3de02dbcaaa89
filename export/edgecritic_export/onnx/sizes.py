"""How large the graphs' files will be, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from edgecritic.graphs.blocks import BLOCK
from edgecritic.graphs.precision import DecoderPrecision, Precision
from edgecritic_export.checkpoints.folder import Checkpoint

_SCALE: Final = 32 / BLOCK
_ZERO: Final = 4 / BLOCK
_TABLE: Final = "model.embed_tokens.weight"
BITS: Final[Mapping[Precision, float]] = {
    "fp32": 32.0,
    "fp16": 16.0,
    "int8": 8.0 + _SCALE,
    "int4": 4.0 + _SCALE + _ZERO,
}
"""Bits that a weight of a matrix takes, with the scale and the zero point of its block."""


def decoder_bytes(checkpoint: Checkpoint, precision: DecoderPrecision) -> int:
    """Size of the decoder's weights and rotary tables."""
    text, names = checkpoint.text, checkpoint.language_tensors()
    half = precision.activations == "fp16"
    narrow = 16 if half else 32
    bits = 2.0 * narrow * text.n_ctx * text.head_dim / 2
    for name, stored in names.items():
        shape = checkpoint.store.shape(stored)
        if len(shape) == 1:
            bits += (narrow if name.endswith(".bias") else 32) * math.prod(shape)
        elif name.startswith("model.layers."):
            stored_in = precision.layers[int(name.split(".")[2])]
            scales = _SCALE / 2 if half and stored_in in ("int8", "int4") else 0.0
            bits += (BITS[stored_in] - scales) * math.prod(shape)
        elif text.tied or "embed_tokens" not in name:
            bits += BITS[precision.head] * math.prod(shape)
    return round(bits / 8)


def embedding_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Size of the table of token embeddings."""
    shape = checkpoint.store.shape(checkpoint.language_tensors()[_TABLE])
    return round(BITS[precision] * math.prod(shape) / 8)


def vision_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Size of vision tower and projector; what is no factor of a product stays a float."""
    bits = 0.0
    for names in (checkpoint.vision_tensors(), checkpoint.projector_tensors()):
        for name, stored in names.items():
            shape = checkpoint.store.shape(stored)
            factor = len(shape) == 2 and "position_embedding" not in name
            kept: Precision = precision if factor or precision == "fp16" else "fp32"
            bits += BITS[kept] * math.prod(shape)
    return round(bits / 8)
