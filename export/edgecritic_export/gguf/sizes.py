"""How large GGUF files will be, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from edgecritic_export.checkpoints.folder import Checkpoint

BITS: Final = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7,
    "Q4_K_M": 4.9, "Q4_0": 4.6, "IQ4_XS": 4.4, "Q3_K_M": 4.0, "Q2_K": 3.2,
}  # fmt: skip
"""Bits per weight of a whole file, output and embeddings included (the 7B of Qwen2's shape)."""

_SUPERBLOCK: Final = 256
_WITHOUT: Final = {
    "Q6_K": 8.5, "Q5_K_M": 6.0, "Q4_K_M": 5.5, "IQ4_XS": 4.5, "Q3_K_M": 4.5, "Q2_K": 4.5
}  # fmt: skip
"""Bits per weight where rows are no multiple of 256: llama.cpp takes Q8_0, Q5_1, Q5_0 or IQ4_NL."""


def language_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the language model's file."""
    stored = dict(checkpoint.language_tensors())
    bits = 0.0
    if checkpoint.text.tied:  # the embedding is the head as well, which is never below Q6_K
        shape = checkpoint.store.shape(stored.pop("model.embed_tokens.weight"))
        bits = max(_bits(shape, "Q6_K"), _bits(shape, quant))
    return round(bits / 8) + _bytes(checkpoint, stored.values(), quant)


def tower_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the file of vision tower and projector."""
    tower, projector = checkpoint.vision_tensors(), checkpoint.projector_tensors()
    return _bytes(checkpoint, (*tower.values(), *projector.values()), quant)


def _bytes(checkpoint: Checkpoint, stored: Iterable[str], quant: str) -> int:
    return round(sum(_bits(checkpoint.store.shape(name), quant) for name in stored) / 8)


def _bits(shape: tuple[int, ...], quant: str) -> float:
    whole = not shape or shape[-1] % _SUPERBLOCK == 0
    return math.prod(shape) * (BITS[quant] if whole else _WITHOUT.get(quant, BITS[quant]))
