"""NF4 as bitsandbytes computes it.

The expected numbers were printed by bitsandbytes 0.50.2 on a CPU: ``quantize_4bit(weight,
quant_type="nf4", compress_statistics=...)``, then ``dequantize_4bit``; column 7 of the result and
the sum of all absolute values. Without double quantization every value is equal, with it about one
block in a thousand takes the neighbouring 8-bit scale (another order of summing the mean).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgecritic_export.checkpoints.nf4 import BLOCK, CODE, DYNAMIC_CODE, nf4_round_trip
from edgecritic_export.checkpoints.tensors import FloatArray

# fmt: off
SINGLE = [
    -0.0030430913902819157, -0.008996822871267796, -0.014779591001570225, -0.0015180249465629458,
    -0.01875932514667511, 0.020844148471951485, -0.02290312945842743, -0.02433818019926548,
    -0.026528414338827133, -0.028953634202480316, 0.03073243610560894, 0.018429458141326904,
    0.0027784646954387426, 0.026586191728711128, 0.028113599866628647, 0.006583975628018379,
    0.0068818386644124985, 0.019791604951024055, -0.01328499335795641, -0.04841993376612663,
]
DOUBLE = [
    -0.0030822253320366144, -0.009076526388525963, -0.014688354916870594, -0.0015127508668228984,
    -0.01881580799818039, 0.020741954445838928, -0.02294326387345791, -0.024319082498550415,
    -0.026520391926169395, -0.02894183062016964, 0.03070899285376072, 0.018361084163188934,
    0.0027722949162125587, 0.026577768847346306, 0.028169220313429832, 0.006580443121492863,
    0.006890418473631144, 0.019839655607938766, -0.013274447992444038, -0.04831946641206741,
]
# fmt: on


def weight() -> FloatArray:
    steps = np.arange(20 * 128, dtype=np.float64)
    values = np.sin(steps**1.5) * np.linspace(0.01, 0.05, steps.size)
    return values.astype(np.float32).reshape(20, 128)


@pytest.mark.parametrize(
    ("double_quantised", "column", "total"),
    [(False, SINGLE, 48.22166764666326), (True, DOUBLE, 48.2196438741521)],
)
def test_numbers_of_bitsandbytes(double_quantised: bool, column: list[float], total: float) -> None:
    found = nf4_round_trip(weight(), double_quantised=double_quantised)
    np.testing.assert_allclose(found[:, 7], column, rtol=1e-6 if double_quantised else 0)
    assert np.abs(found).sum(dtype=np.float64) == pytest.approx(
        total, rel=1e-6 if double_quantised else 1e-9
    )


def test_codes() -> None:
    assert len(DYNAMIC_CODE) == 256
    assert (np.diff(DYNAMIC_CODE) > 0).all()
    assert DYNAMIC_CODE[[0, 127, 255]] == pytest.approx([-0.9929688, 0, 1])
    assert 0 in CODE


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=1, max_dims=2, max_side=150),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_every_value_becomes_the_nearest_of_its_block(values: FloatArray) -> None:
    found = nf4_round_trip(values, double_quantised=False).reshape(-1)
    flat = values.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK].astype(np.float64)
        choices = CODE * np.abs(block).max()
        best = np.abs(block[:, None] - choices).min(axis=1)
        error = np.abs(block - found[start : start + BLOCK])
        np.testing.assert_allclose(error, best, atol=1e-6 * np.abs(block).max() + 1e-37)


def test_what_was_restored_stays_as_it_is() -> None:
    once = nf4_round_trip(weight(), double_quantised=False)
    np.testing.assert_allclose(nf4_round_trip(once, double_quantised=False), once, rtol=1e-6)


@pytest.mark.parametrize("double_quantised", [False, True])
def test_zeros_stay_zero(double_quantised: bool) -> None:
    assert not nf4_round_trip(
        np.zeros((3, 70), np.float32), double_quantised=double_quantised
    ).any()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nf4_round_trip(weight())
    monkeypatch.setattr("edgecritic_export.checkpoints.nf4._CHUNK", 3 * BLOCK)
    np.testing.assert_array_equal(nf4_round_trip(weight()), whole)
