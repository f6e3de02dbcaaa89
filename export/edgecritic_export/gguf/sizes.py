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


def language_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the language model's file."""
    return _bytes(checkpoint, checkpoint.language_tensors().values(), quant)


def tower_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the file of vision tower and projector."""
    tower, projector = checkpoint.vision_tensors(), checkpoint.projector_tensors()
    return _bytes(checkpoint, (*tower.values(), *projector.values()), quant)


def _bytes(checkpoint: Checkpoint, stored: Iterable[str], quant: str) -> int:
    return round(sum(math.prod(checkpoint.store.shape(name)) for name in stored) * BITS[quant] / 8)
