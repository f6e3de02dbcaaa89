"""Tensors as safetensors stores them, and as float32."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError

FloatArray: TypeAlias = NDArray[np.float32]
Bits: TypeAlias = NDArray[Any]
"""A tensor as it is stored; numpy has no bfloat16, so BF16 comes as uint16."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
_CHUNK: Final = 1 << 16  # values at once: they stay in a core's cache
FLOATS: Final = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's type and form.

    Attributes:
        dtype: safetensors' name of it, a key of `DTYPES`.
        shape: in numpy's order of dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its bits."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def widened(dtype: str, bits: Bits) -> FloatArray:
    """Stored bits of a floating-point type as float32."""
    if dtype == "BF16":
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return bits.astype(np.float32)


def narrowed(dtype: str, values: FloatArray) -> Bits:
    """The stored bits of float32 values, rounded to nearest even; `widened` reads them back.

    Raises:
        ArtifactError: `dtype` is no floating-point type, or a value overflows in it.
    """
    if dtype == "BF16":
        return _bfloat16(values)
    if dtype not in FLOATS:
        raise ArtifactError(f"weights cannot be stored as {dtype}", f"use {', '.join(FLOATS)}")
    with np.errstate(over="ignore"):
        stored = values.astype(DTYPES[dtype])
    if not np.isfinite(stored).all():
        largest = float(np.abs(values).max())
        raise ArtifactError(
            f"a weight of {largest:g} does not fit {dtype}", "store the checkpoint as BF16 or F32"
        )
    return stored


def _bfloat16(values: FloatArray) -> Bits:
    if not np.isfinite(values).all():
        raise ArtifactError("a weight is not finite", "the checkpoint or the adapter is damaged")
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
    stored = np.empty(flat.shape, np.uint16)
    for start in range(0, flat.size, _CHUNK):
        bits = flat[start : start + _CHUNK]
        # Half of the last kept place, less one unit where that place is even: ties go to even.
        rounded = (bits >> 16) & 1
        rounded += 0x7FFF
        rounded += bits
        rounded >>= 16
        stored[start : start + _CHUNK] = rounded
    return stored.reshape(values.shape)
