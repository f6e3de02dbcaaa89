"""Blocks of few bits: what ONNX Runtime reads is what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecritic.graphs.blocks import BLOCK, Bits, dequantize_rows, quantize_rows
from edgecritic.graphs.model_file import CONTRIB, ModelFile
from edgecritic_export.onnx.ort import open_session

ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 100)),
    elements=st.floats(-1e4, 1e4, width=32).map(lambda value: value if abs(value) > 1e-20 else 0.0),
)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [32, 96, 128, 80])  # odd numbers of blocks; an unfilled block
def test_the_operator_multiplies_by_the_dequantized_matrix(
    tmp_path: Path, bits: Bits, width: int
) -> None:
    rng = np.random.default_rng(width)
    weights = rng.standard_normal((24, width)).astype(np.float32)
    rows = quantize_rows(weights, bits)
    n_blocks = -(-width // BLOCK)
    with ModelFile(tmp_path / "product.onnx") as model:
        inputs = [
            model.input("x", "float32", "n", width),
            model.weight("codes", rows.codes),
            model.weight("scales", rows.scales),
        ]
        if rows.zeros is not None:
            assert rows.zeros.shape == (24, -(-n_blocks // 2))
            inputs.append(model.weight("zeros", rows.zeros))
        sizes = {"K": width, "N": 24, "bits": bits, "block_size": BLOCK}
        model.node("MatMulNBits", inputs, ["y"], domain=CONTRIB, **sizes)
        model.output("y", "float32", "n", 24)
        model.finish()
    identity = np.eye(width, dtype=np.float32)
    (found,) = open_session(tmp_path / "product.onnx").run(None, {"x": identity})
    np.testing.assert_allclose(found.T, dequantize_rows(rows, width), atol=1e-6)


@given(weights=ROWS)
@settings(deadline=None)
def test_eight_bits_err_by_at_most_half_a_step(weights: np.ndarray) -> None:
    found = dequantize_rows(quantize_rows(weights, 8), weights.shape[1])
    limit = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - weights) <= 0.5001 * limit).all()


@given(weights=ROWS)
@settings(deadline=None)
def test_four_bits_are_no_worse_than_plain_rounding(weights: np.ndarray) -> None:
    width = weights.shape[1]
    padded = np.pad(weights, ((0, 0), (0, -width % BLOCK))).astype(np.float64)
    blocks = padded.reshape(len(weights), -1, BLOCK)
    low, high = blocks.min(axis=-1).clip(max=0), blocks.max(axis=-1).clip(min=0)
    step = ((high - low) / 15)[..., None]
    safe = np.where(step > 0, step, 1)
    zero = np.rint(-low[..., None] / safe)
    plain = (np.clip(np.rint(blocks / safe) + zero, 0, 15) - zero) * step
    found = dequantize_rows(quantize_rows(weights, 4), width)
    error = ((found - weights) ** 2).sum()
    assert error <= ((plain - blocks) ** 2).sum() * 1.001 + 1e-9 * (weights**2).sum()


def test_gaussian_weights_keep_the_stated_accuracy() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    errors = {
        bits: np.sqrt(np.mean((dequantize_rows(quantize_rows(weights, bits), 1024) - weights) ** 2))
        for bits in (4, 8)
    }
    assert errors[4] < 0.0775  # 0.0796 by plain rounding
    assert errors[8] < 0.0055


def test_important_inputs_are_rounded_more_carefully() -> None:
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((64, 512)).astype(np.float32)
    importance = np.exp(2 * rng.standard_normal(512)).astype(np.float32)
    errors = [
        ((dequantize_rows(rows, 512) - weights) ** 2 * importance).sum()
        for rows in (quantize_rows(weights, 4), quantize_rows(weights, 4, importance))
    ]
    assert errors[1] < 0.9 * errors[0]
    even = quantize_rows(weights, 4, np.full(512, 7, dtype=np.float32))
    np.testing.assert_array_equal(even.codes, quantize_rows(weights, 4).codes)


def test_a_row_of_zeros_stays_zero() -> None:
    for bits in (4, 8):
        rows = quantize_rows(np.zeros((2, 64), dtype=np.float32), bits)
        assert not dequantize_rows(rows, 64).any()
