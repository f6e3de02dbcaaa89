"""What engines that bring a `Model` compute: embeddings with positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic.backends.base import FloatArray
from edgecritic.backends.positions import PositionArray


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What is computed at once.

    Attributes:
        embeddings: (n, n_embd) float32 of tokens and pictures.
        positions: (3, n) int32, their time, row and column; equal for text, and everywhere in a
            language model without rows and columns.
    """

    embeddings: FloatArray
    positions: PositionArray

    def __len__(self) -> int:
        return len(self.embeddings)

    def cells(self, start: int, stop: int) -> Chunk:
        """A part of it."""
        return Chunk(self.embeddings[start:stop], self.positions[:, start:stop])

    @classmethod
    def joined(cls, parts: Sequence[Chunk]) -> Chunk:
        """One behind the other."""
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.positions for part in parts], axis=1),
        )
