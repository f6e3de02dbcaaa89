"""Pearson, Spearman and Kendall: against scipy, and resample by resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.correlation import kendall, pearson, spearman, spearman_change
from edgecritic_bench.statistics.intervals import NOTHING

PAIRS = (
    (pearson, stats.pearsonr),
    (spearman, stats.spearmanr),
    (kendall, stats.kendalltau),
)


@pytest.mark.parametrize(("ours", "scipys"), PAIRS)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 40), n_values=st.integers(1, 6))
def test_they_are_scipys(ours, scipys, seed, n, n_values):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, n_values + 1, n) * 1.0, rng.normal(size=n).round(1)
    estimate = ours(x, y, np.arange(n))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert estimate is NOTHING
    else:
        assert estimate.value == pytest.approx(scipys(x, y).statistic, abs=1e-9)


@pytest.mark.parametrize(("ours", "scipys"), PAIRS)
def test_a_resampled_one_is_that_of_the_resample(ours, scipys):
    rng = np.random.default_rng(8)
    clusters = np.repeat(np.arange(12), 3)
    x, y = rng.integers(0, 5, 36) * 1.0, rng.integers(0, 5, 36) * 1.0
    by_hand = []
    for counts in intervals.weights(12):
        rows = np.repeat(np.arange(36), counts.astype(int)[clusters])
        by_hand.append(scipys(x[rows], y[rows]).statistic)
    low, high = np.percentile(by_hand, [2.5, 97.5])
    estimate = ours(x, y, clusters)
    assert estimate.low == pytest.approx(low, abs=1e-9)
    assert estimate.high == pytest.approx(high, abs=1e-9)


def test_columns_far_from_zero_lose_no_digits():
    rng = np.random.default_rng(5)
    x = 1e8 + rng.normal(size=200)
    y = x + rng.normal(size=200)
    found = pearson(x, y, np.arange(200))
    assert found.value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-6)
    assert pearson(np.full(50, 0.1), rng.normal(size=50), np.arange(50)) is NOTHING


@pytest.mark.parametrize("ours", [pearson, spearman, kendall])
def test_nothing_comes_of_nothing(ours):
    assert ours(np.empty(0), np.empty(0), np.empty(0, dtype=int)) is NOTHING


def test_kendall_of_many_rows_is_done_in_pieces():
    rng = np.random.default_rng(1)
    clusters = rng.permutation(np.repeat(np.arange(200), 4))
    x = rng.integers(1, 11, 800) * 1.0
    y = x + rng.normal(scale=3, size=800)
    expected = stats.kendalltau(x, y).statistic
    assert kendall(x, y, clusters).value == pytest.approx(expected, abs=1e-9)


def test_a_change_of_rank_correlation_is_paired():
    rng = np.random.default_rng(3)
    gold, clusters = rng.integers(1, 11, 120).astype(float), np.arange(120) // 4
    noisy, exact = gold + rng.normal(0, 4, 120), gold * 2
    before, after, change = spearman_change(noisy, exact, gold, clusters)
    assert before == pytest.approx(stats.spearmanr(noisy, gold).statistic)
    assert (after, change.value) == pytest.approx((1.0, 1 - before))
    # The second correlation is 1 in every resample, so the interval is that of the first.
    alone = spearman(noisy, gold, clusters)
    assert (change.low, change.high) == pytest.approx((1 - alone.high, 1 - alone.low))
    assert spearman_change(noisy, noisy, gold, clusters)[2].high == 0
    nothing = np.zeros(0)
    assert spearman_change(nothing, nothing, nothing, clusters[:0])[2].n == 0
