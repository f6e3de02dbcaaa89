"""Seconds of calls: arithmetic on made-up times, and one measurement of each engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.fit.pace import (
    DEEP,
    N_MATRICES,
    PAST,
    SHALLOW,
    SIZES,
    Call,
    LayerShape,
    Pace,
    Times,
    pace_of,
    typical,
)
from edgecritic.fit.pace_probe import llamacpp_pace, onnx_pace, picture_pace

LAYER = LayerShape(64, 96, 4, 2, 16, ("F16",) * N_MATRICES, (("attn_q", 4, "F32"),))
POSITIVE = st.floats(1e-6, 10)


def times(n_layers: int, layer: float, besides: float, attention: float) -> Times:
    """Of a model whose layers take `layer` for each token, and everything else `besides`."""
    fresh = tuple(besides + n_layers * layer * n for n in SIZES)
    return Times(fresh, fresh[-1] + n_layers * attention * SIZES[-1] * PAST)


@given(layer=POSITIVE, besides=POSITIVE, attention=POSITIVE, n=st.integers(1, SIZES[-1]))
def test_two_models_tell_what_a_layer_takes(
    layer: float, besides: float, attention: float, n: int
) -> None:
    shallow, deep = (times(k, layer, besides, attention) for k in (SHALLOW, DEEP))
    # More than this and it is the noise that is told; see below.
    if besides > layer:
        return
    pace = pace_of(shallow, deep)
    assert pace.of_layer(Call(n, 0)) == pytest.approx(layer * n, rel=1e-3)
    assert pace.of_the_rest(Call(n, 0)) == pytest.approx(besides, rel=1e-3)
    behind = pace.of_layer(Call(n, 100)) - pace.of_layer(Call(n, 0))
    assert behind == pytest.approx(attention * n * 100, rel=1e-3)


def test_what_a_busy_machine_measured_is_never_negative() -> None:
    pace = pace_of(Times((2.0,) * len(SIZES), 1.0), Times((1.0,) * len(SIZES), 1.0))
    assert min(pace.layer) > 0
    assert min(pace.besides) >= 0
    assert pace.attention == 0


def test_between_the_sizes_that_were_timed_time_grows_evenly() -> None:
    pace = Pace((1.0, 2.0, 3.0, 4.0, 5.0), (0.0,) * 5, 0.0)
    low, high = SIZES[1], SIZES[2]
    assert pace.of_layer(Call((low + high) // 2, 0)) == pytest.approx(2.5)
    assert pace.of_layer(Call(low, 0)) == 2.0


def test_the_middle_run_counts_and_the_first_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.1, 1.0, 1.3, 2.0, 2.2])
    monkeypatch.setattr("edgecritic.fit.pace.perf_counter", lambda: next(clock))
    runs: list[int] = []
    assert typical(lambda: runs.append(1)) == pytest.approx(0.2)
    assert len(runs) == 4


@pytest.mark.parametrize("engine", ["llamacpp", "onnx"])
def test_an_engine_is_timed(tmp_path: Path, engine: str) -> None:
    if engine == "llamacpp":
        pace = llamacpp_pace(tmp_path, LAYER, 1, "llama-cpp-python")
    else:
        layer = LayerShape(64, 96, 4, 2, 16, ("int8",))
        pace = onnx_pace(tmp_path, layer, 1)
    assert len(pace.layer) == len(pace.besides) == len(SIZES)
    assert 0 < pace.layer[0] < pace.layer[-1] < 1


def test_pictures_are_timed(tmp_path: Path) -> None:
    pace = picture_pace(tmp_path)
    assert 0 < pace.again < pace.first < 1e-5


def test_products_of_a_layer() -> None:
    assert LAYER.products == 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96
