from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.data.assets import Assets
from edgecritic_train.data.dice import generator
from edgecritic_train.data.scenes.charts import Series, bar_chart, chart_look
from edgecritic_train.data.scenes.layout import canvas_size, in_line, scattered
from edgecritic_train.data.scenes.palette import COLOUR_NAMES, COLOURS, distance, paper_for, shade
from edgecritic_train.data.scenes.shapes import SHAPES, draw_shape
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import listed, with_article

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.integers(1, 8))
def test_scattered_places_do_not_overlap_and_stay_inside(seed: int, count: int) -> None:
    rng = generator("places", seed)
    size = canvas_size(rng)
    places = scattered(rng, size, count)
    assert len(places) == count
    for index, place in enumerate(places):
        assert place.side / 2 - 1e-6 <= place.x <= size[0] - place.side / 2 + 1e-6
        assert place.side / 2 - 1e-6 <= place.y <= size[1] - place.side / 2 + 1e-6
        for other in places[:index]:
            reach = (place.side + other.side) / 2
            gap = max(abs(place.x - other.x), abs(place.y - other.y))
            assert gap >= reach - 1e-6


@given(SEEDS, st.booleans())
def test_places_in_a_line_are_in_order(seed: int, across: bool) -> None:
    rng = generator("line", seed)
    places = in_line(rng, canvas_size(rng), 3, across)
    along = [place.x if across else place.y for place in places]
    assert along == sorted(along)
    assert min(np.diff(along)) >= min(place.side for place in places) / 2


@given(SEEDS, st.sampled_from(COLOUR_NAMES))
def test_a_shade_is_nearest_to_its_own_name(seed: int, colour: str) -> None:
    found = shade(generator("shade", seed), colour)
    assert min(COLOURS, key=lambda name: distance(COLOURS[name], found)) == colour


@given(SEEDS, st.lists(st.sampled_from(COLOUR_NAMES), min_size=1, max_size=3, unique=True))
def test_paper_sets_off_every_colour(seed: int, colours: list[str]) -> None:
    paper = paper_for(generator("paper", seed), [COLOURS[name] for name in colours])
    assert min(distance(paper, COLOURS[name]) for name in colours) > 45


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_differ_from_one_another(shape: str) -> None:
    def mask(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        drawn = draw_shape(generator("shape"), name, "red", ("solid",))
        return np.asarray(drawn.getchannel("A")) > 128

    for other in SHAPES:
        if other != shape:
            both, either = mask(shape) & mask(other), mask(shape) | mask(other)
            assert both.sum() / either.sum() < 0.9


@pytest.mark.parametrize("lying", [False, True])
def test_bars_are_as_long_as_their_values(assets: Assets, lying: bool) -> None:
    for seed in range(30):
        setting = Setting(assets, "train", generator("bars", seed))
        look = chart_look(setting, numbers=False)
        if look.lying == lying:
            break
    series = Series(("A", "B"), (30, 90), ("red", "blue"))
    pixels = np.asarray(bar_chart(setting, series, look)).astype(int)
    lengths = []
    for colour in series.colours:
        rows, columns = np.nonzero(np.abs(pixels - COLOURS[colour]).sum(-1) < 10)
        lengths.append(np.ptp(columns if lying else rows))
    assert lengths[0] / lengths[1] == pytest.approx(1 / 3, abs=0.05)


def test_small_english() -> None:
    assert [with_article(n) for n in ("8", "11", "7", "orange star", "unicorn")] == [
        "an 8",
        "an 11",
        "a 7",
        "an orange star",
        "a unicorn",
    ]
    assert listed(["a dog"]) == "a dog"
    assert listed(["a dog", "a car", "a hat"]) == "a dog, a car and a hat"
