"""What a GGUF file is really made of, read back from the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecritic.gguf_header import GgufHeader, read_header


@dataclass(frozen=True, slots=True)
class TypeShare:
    """The tensors of one type.

    Attributes:
        type_name: such as ``Q4_K``.
        n_tensors: how many there are.
        n_weights: numbers in them.
        n_bytes: bytes that they take.
    """

    type_name: str
    n_tensors: int
    n_weights: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class TensorMix:
    """The tensor types of a file.

    Attributes:
        shares: the type that takes most bytes first.
    """

    shares: tuple[TypeShare, ...]

    @classmethod
    def of(cls, path: Path) -> TensorMix:
        """Read a file's header.

        Raises:
            ArtifactError: it is no GGUF file, or damaged.
        """
        shares = list(_shares(read_header(path)))
        return cls(tuple(sorted(shares, key=lambda share: (-share.n_bytes, share.type_name))))

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(share.n_bytes for share in self.shares)

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes on average, with the scales of its block."""
        n_weights = sum(share.n_weights for share in self.shares)
        return 8 * self.n_bytes / n_weights if n_weights else 0.0

    def __str__(self) -> str:
        parts = (f"{share.n_tensors} {share.type_name}" for share in self.shares)
        return f"{', '.join(parts)}; {self.n_bytes:,} bytes, {self.bits_per_weight:.2f} bits/weight"


def _shares(header: GgufHeader) -> Iterator[TypeShare]:
    for type_name in {claim.type_name for claim in header.tensors.values()}:
        claims = [claim for claim in header.tensors.values() if claim.type_name == type_name]
        yield TypeShare(
            type_name,
            len(claims),
            sum(math.prod(claim.shape) for claim in claims),
            sum(claim.n_bytes for claim in claims),
        )
