"""Rows become a tree that holds each of them and shares every beginning."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.backends.base import ImageSpan, TextSpan
from edgecritic.judging.trie import (
    Node,
    Units,
    build_tree,
    common_length,
    count_cells,
    row_length,
    spans_of,
    units_of,
)

PICTURES = {key: ImageSpan(key, np.ones((3, 8), dtype=np.float32)) for key in ("cat", "dog")}
units: st.SearchStrategy[int | ImageSpan] = st.sampled_from([1, 2, 3, *PICTURES.values()])
# Few different units and short rows: nearly all rows share something, many end inside others.
rows_strategy = st.lists(
    st.lists(units, min_size=1, max_size=7).map(tuple), min_size=1, max_size=12
)


def tree_size(nodes: Sequence[Node]) -> int:
    return sum(node.n_cells + tree_size(node.children) for node in nodes)


@given(rows=rows_strategy)
def test_the_tree_holds_every_row_and_shares_every_prefix(rows: list[Units]) -> None:
    prefixes = {row[:end] for row in rows for end in range(1, len(row) + 1)}
    assert tree_size(build_tree(rows)) == sum(count_cells(prefix[-1:]) for prefix in prefixes)
    assert frozenset().union(*(node.below for node in build_tree(rows))) == set(range(len(rows)))


@given(row=st.lists(units, max_size=9).map(tuple))
def test_spans_and_units_are_the_same_row(row: Units) -> None:
    spans = spans_of(row)
    assert units_of(spans) == row
    assert row_length(spans) == count_cells(row)
    kinds = [type(span) for span in spans]
    assert (TextSpan, TextSpan) not in pairwise(kinds)


@given(known=st.lists(units, max_size=9).map(tuple), row=st.lists(units, max_size=9).map(tuple))
def test_common_lengths(known: Units, row: Units) -> None:
    for start in range(len(known) + 1):
        pairs = zip(known[start:], row, strict=False)
        expected = next((k for k, (a, b) in enumerate(pairs) if a != b), None)
        if expected is None:
            expected = min(len(known) - start, len(row))
        assert common_length(known, start, row) == expected


def test_a_row_without_tokens_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        build_tree([()])
