"""Intervals: against scipy where rows are independent, by coverage where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.intervals import NOTHING, mean, share, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    hits, n = case
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson(hits, n)
    assert low == pytest.approx(theirs.low, abs=1e-9)
    assert high == pytest.approx(theirs.high, abs=1e-9)


def clustered(rng: np.random.Generator, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten rows an item that share the item's own chance of a hit: mean 0.8."""
    chance = rng.beta(4, 1, n_items)
    hits = (rng.random((n_items, 10)) < chance[:, None]).astype(float)
    return hits.ravel(), np.repeat(np.arange(n_items), 10)


def test_the_bootstrap_over_items_covers_where_one_over_rows_does_not():
    rng = np.random.default_rng(3)
    covered = {"items": 0, "rows": 0}
    for _ in range(200):
        hits, clusters = clustered(rng, 60)
        for name, groups in (("items", clusters), ("rows", np.arange(len(hits)))):
            estimate = share(hits, groups)
            covered[name] += estimate.low <= 0.8 <= estimate.high
    # 200 trials of a 95% interval: 180 to 199 with all but 1 in 1,000 chances.
    assert 180 <= covered["items"] <= 200
    assert covered["rows"] < 170


def test_the_bootstrap_of_a_mean_is_as_wide_as_the_normal_interval():
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = mean(values, np.arange(400))
    half = 1.96 * values.std(ddof=1) / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.05 * half * 2)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.05 * half * 2)


def test_no_wrong_row_is_no_certainty():
    estimate = share(np.ones(100), np.repeat(np.arange(20), 5))
    assert estimate.value == estimate.high == 1
    assert estimate.low == pytest.approx(wilson(20, 20)[0])
    assert (estimate.n, estimate.n_items) == (100, 20)


def test_one_item_has_no_interval():
    estimate = mean(np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=int))
    assert estimate.value == 2
    assert np.isnan([estimate.low, estimate.high]).all()
    # Of a share Wilson's takes its place where all rows are alike.
    assert share(np.ones(3), np.zeros(3, dtype=int)).low == pytest.approx(wilson(1, 1)[0])


def test_unequal_items_weigh_by_their_rows():
    values, clusters = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0, 1, 1, 1])
    assert mean(values, clusters).value == 0.25


def test_nothing_comes_of_nothing():
    empty = np.empty(0)
    for estimate in (mean(empty, empty.astype(int)), share(empty, empty.astype(int))):
        assert estimate is NOTHING


def test_the_same_rows_give_the_same_interval():
    hits, clusters = clustered(np.random.default_rng(0), 30)
    first = share(hits, clusters)
    intervals.weights.cache_clear()
    assert share(hits, clusters) == first
