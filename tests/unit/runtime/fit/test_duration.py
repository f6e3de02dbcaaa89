"""Which calls an engine gets, and what they come to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.fit.duration import Work, calls, seconds
from edgecritic.fit.pace import N_MATRICES, SIZES, LayerShape, Pace, PicturePace
from edgecritic.fit.workload import Picture, Workload

LAYER = LayerShape(64, 96, 4, 4, 16, ("F16",) * N_MATRICES)
WORK = Work({LAYER: 10}, 1000, 0, 0, LAYER, 512, together=True, apart=True)
ALONE = replace(WORK, together=False, apart=False)
PICTURE = Picture(2, (384, 384), 1485)
FREE = PicturePace(0.0, 0.0)
EVEN = Pace(tuple(1e-3 * n for n in SIZES), (0.0,) * len(SIZES), 0.0)


@given(
    responses=st.integers(1, 12),
    tokens=st.integers(1, 200),
    image_tokens=st.integers(0, 8000),
    together=st.booleans(),
    apart=st.booleans(),
)
def test_every_token_is_in_one_call(
    responses: int, tokens: int, image_tokens: int, together: bool, apart: bool
) -> None:
    workload = Workload((640, 480), responses, tokens)
    work = replace(WORK, together=together, apart=apart)
    picture = Picture(1, (384, 384), image_tokens)
    found = list(calls(work, workload, picture))
    more = 1 if responses == 1 else 0  # between the levels 1 and 10
    assert sum(call.n_tokens for call in found) == workload.tokens(image_tokens) + more
    assert max(call.n_tokens for call in found) <= max(work.n_batch, workload.answer_tokens)
    shared = 0 if together or responses == 1 else responses
    assert sum(call.rows for call in found) == workload.judgements + more + shared


def test_answers_are_computed_together_where_the_engine_can() -> None:
    workload = Workload((640, 480), 5, 14)
    together, alone = (list(calls(work, workload, PICTURE)) for work in (WORK, ALONE))
    assert len(together) < len(alone)
    assert [call.rows for call in alone if call.rows] == [1] * 25
    assert [call.rows for call in together if call.rows] == [20]


def test_pictures_are_computed_with_their_text_where_the_engine_can() -> None:
    one, picture = Workload((640, 480)), Picture(2, (384, 384), 300)
    spans = [
        [call.n_tokens for call in calls(replace(WORK, apart=apart), one, picture)]
        for apart in (True, False)
    ]
    assert len(spans[0]) == len(spans[1]) + 2
    assert sum(spans[0]) == sum(spans[1])


def test_seconds_are_those_of_the_calls() -> None:
    workload = Workload(None, 1, 14)
    nothing = Picture(0, (0, 0), 0)
    found = seconds(ALONE, workload, nothing, lambda layer: EVEN, PicturePace(1.0, 1.0))
    head = 2 * 1e-3 * ALONE.n_vocab * LAYER.n_embd / LAYER.products
    assert found == pytest.approx(10 * 1e-3 * (workload.tokens(0) + 1) + head)


def test_a_call_has_its_own_price() -> None:
    launched = Pace((0.0,) * len(SIZES), (1.0,) * len(SIZES), 0.0)
    workload = Workload((640, 480), 5, 14)
    for work in (WORK, ALONE):
        n_calls = len(list(calls(work, workload, PICTURE)))
        assert seconds(work, workload, PICTURE, lambda layer: launched, FREE) == n_calls


def test_tiles_and_pixels_take_time() -> None:
    seeing = replace(WORK, tower=LAYER.products * 3, patches=256)
    workload = Workload((640, 480))
    blind = seconds(WORK, workload, PICTURE, lambda layer: EVEN, FREE)
    found = seconds(seeing, workload, PICTURE, lambda layer: EVEN, PicturePace(1e-6, 1.0))
    assert found - blind == pytest.approx(2 * 3 * 256e-3 + 640 * 480 * 1e-6)


def test_each_pair_reads_the_picture_again() -> None:
    one, five = Workload((640, 480), 1), Workload((640, 480), 5)
    assert (one.requests, five.requests) == (1, 10)
    free = seconds(WORK, five, PICTURE, lambda layer: EVEN, FREE)
    found = seconds(WORK, five, PICTURE, lambda layer: EVEN, PicturePace(1e-5, 1e-6))
    assert found - free == pytest.approx(640 * 480 * (1e-5 + 9e-6))


@given(responses=st.integers(1, 8), pictures=st.integers(1, 100), image_tokens=st.integers(0, 3000))
def test_what_is_kept_is_bounded(responses: int, pictures: int, image_tokens: int) -> None:
    workload = Workload((640, 480), responses, pictures=pictures)
    n_cells = 4096
    kept = workload.kept(image_tokens, n_cells)
    assert kept <= n_cells
    assert kept >= min(n_cells, workload.tokens(image_tokens))
    assert replace(workload, pictures=pictures + 1).kept(image_tokens, n_cells) >= kept
