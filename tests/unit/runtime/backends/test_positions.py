"""Positions in rows and columns, against transformers' own, and kept count of across forks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from edgecritic.backends.base import Append, ImageSpan, Span, TextSpan
from edgecritic.backends.cells import CellLedger
from edgecritic.backends.positions import span_positions

MERGE = 2


def image(grid: tuple[int, int]) -> ImageSpan:
    return ImageSpan(f"{grid}", np.zeros((grid[0] * grid[1], 4), dtype=np.float32), grid)


texts = st.integers(1, 9).map(lambda n: TextSpan((0,) * n))
images = st.tuples(st.integers(1, 6), st.integers(1, 6)).map(image)
# transformers takes neighbouring pictures for one, which no prompt has: tokens frame each.
rows = st.lists(st.tuples(texts, images), max_size=4).flatmap(
    lambda pairs: texts.map(lambda last: [span for pair in pairs for span in pair] + [last])
)


@pytest.fixture(scope="module")
def reference() -> Any:
    """As much of a model as `get_rope_index` looks at."""
    model = object.__new__(Qwen2_5_VLModel)
    torch.nn.Module.__init__(model)
    model.config = Qwen2_5_VLConfig(vision_config={"spatial_merge_size": MERGE})
    return model


def laid(spans: list[Span]) -> np.ndarray[Any, Any]:
    """(3, n): spans one behind the other, as the engines lay them."""
    parts, start = [], 0
    for span in spans:
        parts.append(span_positions(span, start))
        start += span.n_positions
    return np.concatenate(parts, axis=1)


@given(spans=rows)
def test_positions_are_those_of_transformers(reference: Any, spans: list[Span]) -> None:
    grids = [span.grid for span in spans if isinstance(span, ImageSpan) and span.grid]
    kinds = [int(isinstance(span, ImageSpan)) for span in spans for _ in range(len(span))]
    expected, _ = reference.get_rope_index(
        torch.zeros(1, len(kinds), dtype=torch.long),
        torch.tensor([kinds]),
        image_grid_thw=torch.tensor([(1, MERGE * r, MERGE * c) for r, c in grids])
        if grids
        else None,
    )
    np.testing.assert_array_equal(laid(spans), expected[:, 0])


@given(spans=st.lists(st.one_of(texts, images), min_size=2))
def test_what_follows_stands_behind_everything_before(spans: list[Span]) -> None:
    starts = np.cumsum([0, *(span.n_positions for span in spans)])
    for (start, end), span in zip(pairwise(starts), spans, strict=True):
        positions = span_positions(span, int(start))
        assert positions.shape == (3, len(span))
        assert start == positions.min()
        assert end == positions.max() + 1


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["open", "fork", "append"]), st.integers(0, 5), images | texts),
        max_size=30,
    )
)
@settings(deadline=None)
def test_the_ledger_counts_cells_and_positions_across_forks(
    moves: list[tuple[str, int, Span]],
) -> None:
    ledger = CellLedger(10_000, 64)
    truth: dict[int, tuple[int, int]] = {}
    for kind, choice, span in moves:
        chosen = sorted(truth)[choice % len(truth)] if truth else None
        if kind == "open" or chosen is None:
            truth[ledger.open()] = (0, 0)
        elif kind == "fork":
            truth[ledger.fork(chosen)] = truth[chosen]
        else:
            ledger.reserve([Append(chosen, (span,))])
            cells, positions = truth[chosen]
            truth[chosen] = (cells + len(span), positions + span.n_positions)
    assert {s: (ledger.length(s), ledger.position(s)) for s in truth} == truth


def test_features_in_a_line_take_as_many_positions_as_tokens() -> None:
    line = ImageSpan("line", np.zeros((5, 4), dtype=np.float32))
    np.testing.assert_array_equal(span_positions(line, 3), [range(3, 8)] * 3)
    assert line.n_positions == len(line) == 5
