"""ggml's blocks as float32: the types that language models and vision towers of ours come in.

Source of the layouts: ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError

FloatArray: TypeAlias = NDArray[np.float32]
UInt8Array: TypeAlias = NDArray[np.uint8]

_BLOCK: Final = 32


def dequantize(stored: UInt8Array, type_name: str) -> FloatArray:
    """Rows of a tensor.

    Args:
        stored: (n, bytes of a row) uint8.
        type_name: ``"Q4_1"``, ``"F16"``, ...

    Returns:
        (n, width) float32.

    Raises:
        ArtifactError: the type is none of those.
    """
    if type_name not in _READERS:
        raise ArtifactError(
            f"weights of type {type_name} cannot be converted, only {', '.join(_READERS)} can",
            "judge with llama.cpp, which computes with all types: pip install 'edgecritic[llama]'",
        )
    return _READERS[type_name](np.ascontiguousarray(stored))


def _f32(stored: UInt8Array) -> FloatArray:
    return stored.view("<f4").astype(np.float32, copy=False)


def _f16(stored: UInt8Array) -> FloatArray:
    return stored.view("<f2").astype(np.float32)


def _bf16(stored: UInt8Array) -> FloatArray:
    wide = stored.view("<u2").astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def _blocks(bits: int, *, minimum: bool) -> Callable[[UInt8Array], FloatArray]:
    """A reader of blocks: a scale, maybe a minimum, the fifth bits, codes.

    Of four bits the first half of a block lies in the low halves of the bytes.
    """
    n_floats = 2 if minimum else 1
    n_high = 4 if bits == 5 else 0
    n_bytes = 2 * n_floats + n_high + _BLOCK * (1 if bits == 8 else 0.5)

    def read(stored: UInt8Array) -> FloatArray:
        blocks = stored.reshape(-1, int(n_bytes))
        floats = blocks[:, : 2 * n_floats].copy().view("<f2").astype(np.float32)
        codes = _codes(blocks[:, 2 * n_floats :], bits)
        if not minimum and bits < 8:
            codes -= 1 << (bits - 1)
        codes *= floats[:, :1]
        if minimum:
            codes += floats[:, 1:]
        return codes.reshape(len(stored), -1)

    return read


def _codes(packed: UInt8Array, bits: int) -> FloatArray:
    """(n, 32) float32, not yet scaled."""
    if bits == 8:
        return packed.view(np.int8).astype(np.float32)
    halves = packed[:, -_BLOCK // 2 :]
    codes = np.concatenate((halves & 15, halves >> 4), axis=1)
    if bits == 5:
        fifth = np.unpackbits(packed[:, :4], axis=1, bitorder="little")
        codes |= fifth << 4
    return codes.astype(np.float32)


_READERS: Final[Mapping[str, Callable[[UInt8Array], FloatArray]]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q4_0": _blocks(4, minimum=False),
    "Q4_1": _blocks(4, minimum=True),
    "Q5_0": _blocks(5, minimum=False),
    "Q5_1": _blocks(5, minimum=True),
    "Q8_0": _blocks(8, minimum=False),
}
