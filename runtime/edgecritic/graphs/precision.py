"""How many bits each part of a decoder is stored in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Precision: TypeAlias = Literal["fp32", "fp16", "int8", "int4"]
"""Of a matrix as it is stored; see `DecoderPrecision` for what it is multiplied in."""
FloatPrecision: TypeAlias = Literal["fp32", "fp16"]
Importance: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Mean square of each input, (n_inputs,), by the name of the matrix in the graph."""


@dataclass(frozen=True, slots=True)
class DecoderPrecision:
    """Precision of a decoder's matrices.

    Attributes:
        layers: one for each layer.
        head: of the output matrix, whose error goes straight into the verdict.
        activations: what the layers' products, the attention and its cache are computed in.
            float32 is for CPUs, which have little else, and stored halves are widened for it.
            float16 is for GPUs, whose attention knows nothing wider; the residual stream, the
            norms and the head stay in float32, since Qwen2's residuals leave half's range.
    """

    layers: tuple[Precision, ...]
    head: Precision
    activations: FloatPrecision = "fp32"

    @classmethod
    def uniform(cls, precision: Precision, n_layers: int) -> DecoderPrecision:
        """The same everywhere."""
        return cls((precision,) * n_layers, precision)

    @classmethod
    def mixed(
        cls, n_layers: int, eight_bit: Collection[int], activations: FloatPrecision = "fp32"
    ) -> DecoderPrecision:
        """Four bits, but eight in the named layers and in the head."""
        chosen: list[Precision] = ["int8" if n in eight_bit else "int4" for n in range(n_layers)]
        return cls(tuple(chosen), "int8", activations)

    @property
    def eight_bit(self) -> tuple[int, ...]:
        """Layers that are stored in eight bits."""
        return tuple(index for index, bits in enumerate(self.layers) if bits == "int8")
