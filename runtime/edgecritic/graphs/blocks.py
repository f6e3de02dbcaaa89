"""Weights in blocks of few bits, in the layout of ONNX Runtime's MatMulNBits operator.

A matrix (N outputs, K inputs) is cut along K into blocks of 32; ``weight = (code - zero) * scale``
with one scale and one zero point a block. Eight bits are symmetric around 128. Four bits are laid
out for the least squared error: several ranges around the block's own are tried, as llama.cpp's
k-quants do, and the scale is then solved for the codes that each gives.

Source of the layout: ONNX Runtime's documentation of com.microsoft.MatMulNBits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
UInt8Array: TypeAlias = NDArray[np.uint8]
Bits: TypeAlias = Literal[4, 8]

BLOCK: Final = 32
"""Weights that share a scale; the smallest block that ONNX Runtime has fast kernels for is 16."""

# The 16 codes are spread over these fractions of a block's range, with the scale solved for each.
# On Gaussian weights the error falls by 3.5% against the plain range; twenty fractions and three
# zero points around each would gain another 0.4%.
_RANGES: Final = (1.1, 1.05, 1.0, 0.95, 0.9)
_LEAST_IMPORTANCE: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedRows:
    """Some rows of a matrix, quantized.

    Attributes:
        codes: (n, blocks, BLOCK * bits / 8) uint8; at 4 bits the even weight is the low half.
        scales: (n, blocks) float32.
        zeros: (n, ceil(blocks / 2)) uint8, the even block's zero point in the low half; None at
            8 bits, where all of them are 128.
    """

    codes: UInt8Array
    scales: FloatArray
    zeros: UInt8Array | None


def quantize_rows(
    rows: FloatArray, bits: Bits, importance: FloatArray | None = None
) -> QuantizedRows:
    """Quantize rows of a matrix; a last block that K does not fill is filled with zeros.

    Args:
        rows: (n, K) float32, finite.
        bits: 4 or 8.
        importance: (K,) float32, not negative: what an error at each input counts, at four bits.
            All count alike when left out.
    """
    n_rows, width = rows.shape
    n_blocks = -(-width // BLOCK)
    padded = np.pad(rows, ((0, 0), (0, n_blocks * BLOCK - width)))
    blocks = padded.reshape(n_rows, n_blocks, BLOCK)
    if bits == 8:
        codes, scales = _eight_bits(blocks)
        return QuantizedRows(codes, scales, None)
    counts = np.ones(width, dtype=np.float32) if importance is None else _bounded(importance)
    weights = np.pad(counts, (0, n_blocks * BLOCK - width)).reshape(n_blocks, BLOCK)
    codes, scales, zeros = _four_bits(blocks, weights)
    if n_blocks % 2:
        zeros = np.pad(zeros, ((0, 0), (0, 1)))
    return QuantizedRows(_pairs(codes), scales, _pairs(zeros))


def dequantize_rows(rows: QuantizedRows, width: int) -> FloatArray:
    """(n, width) float32: what MatMulNBits multiplies by."""
    n_rows, n_blocks = rows.scales.shape
    codes, zeros = rows.codes, np.full((n_rows, n_blocks), 128, dtype=np.uint8)
    if rows.zeros is not None:
        codes, zeros = _halves(codes), _halves(rows.zeros)[:, :n_blocks]
    centred = codes.astype(np.float32) - zeros[..., None].astype(np.float32)
    weights = centred * rows.scales[..., None]
    return np.asarray(weights.reshape(n_rows, -1)[:, :width], dtype=np.float32)


def _eight_bits(blocks: FloatArray) -> tuple[UInt8Array, FloatArray]:
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    codes = np.rint(blocks * _inverse(scales)[..., None]) + 128
    return codes.astype(np.uint8), scales


def _bounded(importance: FloatArray) -> FloatArray:
    """Importance around one, with a floor: prompts that never drove an input may come later."""
    mean = max(float(importance.mean()), float(np.finfo(np.float32).tiny))
    relative = importance / np.float32(mean)
    return np.asarray(np.maximum(relative, _LEAST_IMPORTANCE), dtype=np.float32)


def _four_bits(
    blocks: FloatArray, weights: FloatArray
) -> tuple[UInt8Array, FloatArray, UInt8Array]:
    """Codes, scales and zero points, each the best of `_RANGES` for its block."""
    low = np.minimum(blocks.min(axis=-1), 0)  # zero must be a code: many weights are near it
    high = np.maximum(blocks.max(axis=-1), 0)
    zeros = np.rint(-15 * low * _inverse(high - low))
    best_error = np.full(low.shape, np.inf, dtype=np.float32)
    best_scales = np.zeros(low.shape, dtype=np.float32)
    best_codes = np.zeros(blocks.shape, dtype=np.uint8)
    for part in _RANGES:
        inverse = _inverse((high - low) * np.float32(part / 15))
        codes = np.clip(np.rint(blocks * inverse[..., None]) + zeros[..., None], 0, 15)
        scales, error = _solve(blocks, codes - zeros[..., None], weights)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scales = np.where(better, scales, best_scales)
        best_codes[better] = codes[better].astype(np.uint8)
    return best_codes, best_scales, zeros.astype(np.uint8)


def _solve(
    blocks: FloatArray, centred: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The scale of least weighted squared error for given codes, and that error."""
    weighted = centred * weights
    product = np.einsum("nbk,nbk->nb", blocks, weighted)
    scale = product * _inverse(np.einsum("nbk,nbk->nb", centred, weighted))
    rest = blocks - centred * scale[..., None]
    return scale, np.einsum("nbk,nbk,bk->nb", rest, rest, weights)


def _inverse(values: FloatArray) -> FloatArray:
    """1 / values, and 0 where that is infinite: a block of zeros has no scale."""
    inverse = np.zeros_like(values)
    np.divide(1, values, out=inverse, where=values > np.finfo(np.float32).tiny)
    return inverse


def _pairs(halves: UInt8Array) -> UInt8Array:
    """Values below 16, two in a byte along the last axis."""
    return np.asarray(halves[..., ::2] | halves[..., 1::2] << 4, dtype=np.uint8)


def _halves(pairs: UInt8Array) -> UInt8Array:
    """What `_pairs` packed."""
    halves = np.stack((pairs & 15, pairs >> 4), axis=-1)
    return np.asarray(halves.reshape(*pairs.shape[:-1], -1), dtype=np.uint8)
