"""Rotary position tables, as transformers computes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError, shown

FloatArray: TypeAlias = NDArray[np.float32]

_LLAMA3: Final = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """What turns queries and keys.

    Attributes:
        cos: (n_positions, head_dim / 2) float32.
        sin: likewise.
    """

    cos: FloatArray
    sin: FloatArray


def rotary_tables(
    config: Mapping[str, object], *, theta: float, head_dim: int, n_positions: int
) -> RotaryTables:
    """Tables for a decoder.

    Angles are rounded to float32 where transformers rounds them, so that both engines turn by the
    same angle even at position 30,000, where float32 resolves 0.002 of a radian.

    Args:
        config: of the language model; its scaling stands in ``rope_parameters`` (transformers 5)
            or ``rope_scaling`` (4).
        theta: base of the frequencies.
        head_dim: width of a head, even.
        n_positions: positions to compute.

    Raises:
        ArtifactError: the scaling is of a kind that changes more than the frequencies.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.power(theta, exponents, dtype=np.float64).astype(np.float32)
    frequencies = np.float32(1) / powers
    frequencies = _scaled(frequencies, config)
    angles = np.arange(n_positions, dtype=np.float32)[:, None] * frequencies
    return RotaryTables(np.cos(angles), np.sin(angles))


def _scaled(frequencies: FloatArray, config: Mapping[str, object]) -> FloatArray:
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        raise ArtifactError(f"config.json: rope_scaling is {shown(scaling)}", "fetch it again")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    plain = "mrope_section" not in scaling and scaling.get("partial_rotary_factor", 1) == 1
    try:
        if plain and kind == "default":
            return frequencies
        if plain and kind == "linear":
            return frequencies / np.float32(scaling["factor"])
        if plain and kind == "llama3":
            return _llama3(frequencies, {name: float(scaling[name]) for name in _LLAMA3})
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"config.json: rotary positions {shown(scaling)} lack {error}", "fetch it again"
        ) from error
    raise ArtifactError(
        f"config.json: rotary positions {shown(scaling)} are not exported to ONNX",
        "supported are default, linear and llama3; export this checkpoint to GGUF",
    )


def _llama3(frequencies: FloatArray, scaling: Mapping[str, float]) -> FloatArray:
    """Slow frequencies divided by the factor, fast ones kept, those between interpolated.

    Source: Llama 3.1's model card; transformers' rope type "llama3".
    """
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / np.float32(2 * math.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)
    slowed = frequencies / np.float32(scaling["factor"])
    return np.asarray((1 - share) * slowed + share * frequencies, dtype=np.float32)
