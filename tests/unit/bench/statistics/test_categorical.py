"""Accuracy, kappa and alpha: against scikit-learn, statsmodels and krippendorff, and by algebra."""

from __future__ import annotations

import krippendorff as theirs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from edgecritic import InputError
from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.categorical import (
    accuracy,
    accuracy_without_ties,
    kappa,
    krippendorff,
)
from edgecritic_bench.statistics.intervals import NOTHING
from edgecritic_bench.tables import FIRST, SECOND, TIE


def verdicts(seed: int, n: int, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two judges that agree on about half of the rows."""
    rng = np.random.default_rng(seed)
    one = rng.integers(0, k, n)
    return one, np.where(rng.random(n) < 0.5, one, rng.integers(0, k, n))


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 5))
def test_kappas_are_those_of_scikit_learn(seed, n, k):
    one, other = verdicts(seed, n, k)
    if len({*one, *other}) == 1:
        assert kappa(one, other, k, np.arange(n)) is NOTHING
        return
    for ours, weights in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = cohen_kappa_score(one, other, labels=list(range(k)), weights=weights)
        found = kappa(one, other, k, np.arange(n), ours)
        assert found.value == pytest.approx(expected, abs=1e-9)
        assert found.low <= found.value <= found.high <= 1 + 1e-9


def test_weighted_kappas_are_those_of_statsmodels():
    one, other = verdicts(4, 300, 5)
    table = np.zeros((5, 5))
    np.add.at(table, (one, other), 1)
    for ours, name in (("linear", "linear"), ("quadratic", "quadratic")):
        expected = cohens_kappa(table, wt=name).kappa
        assert kappa(one, other, 5, np.arange(300), ours).value == pytest.approx(expected)


@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_kappa_does_not_know_the_names_of_categories(seed, names):
    one, other = verdicts(seed, 50, 4)
    renamed = np.array(names)
    before = kappa(one, other, 4, np.arange(50))
    after = kappa(renamed[one], renamed[other], 4, np.arange(50))
    assert after.value == pytest.approx(before.value)


def test_kappa_of_the_textbook_table():
    # 20 and 15 agreed of 50; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so (0.7 - 0.5) / 0.5.
    one = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    other = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert kappa(one, other, 2, np.arange(50)).value == pytest.approx(0.4)


def test_the_interval_of_kappa_is_that_of_resampled_items():
    one, other = verdicts(1, 60)
    clusters = np.repeat(np.arange(20), 3)
    by_hand = []
    for counts in intervals.weights(20):
        rows = np.repeat(np.arange(60), counts.astype(int)[clusters])
        by_hand.append(cohen_kappa_score(one[rows], other[rows]))
    found = kappa(one, other, 3, clusters)
    low, high = np.percentile(by_hand, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_accuracy_with_and_without_ties_by_hand():
    gold = np.array([FIRST, FIRST, SECOND, TIE, TIE, SECOND])
    said = np.array([FIRST, TIE, FIRST, TIE, FIRST, SECOND])
    rows = np.arange(6)
    assert accuracy(said, gold, rows).value == pytest.approx(3 / 6)
    assert accuracy(said, gold, rows).value == accuracy_score(gold, said)
    # Four rows are decided: right, tie, wrong, right.
    assert accuracy_without_ties(said, gold, rows).value == pytest.approx(2 / 4)
    assert accuracy_without_ties(said, gold, rows, "half").value == pytest.approx(2.5 / 4)
    dropped = accuracy_without_ties(said, gold, rows, "dropped")
    assert (dropped.value, dropped.n) == (pytest.approx(2 / 3), 3)


@given(
    st.integers(0, 10**6),
    st.integers(2, 4),
    st.integers(4, 40),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_alpha_is_krippendorffs(seed, raters, n, measure):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 5, (raters, n)).astype(float)
    ratings[rng.random((raters, n)) < 0.2] = np.nan
    found = krippendorff(ratings, np.arange(n), measure)
    paired = ratings[:, np.isfinite(ratings).sum(axis=0) >= 2]
    if len(np.unique(paired[np.isfinite(paired)])) < 2:
        assert found is NOTHING
    else:
        expected = theirs.alpha(reliability_data=ratings, level_of_measurement=measure)
        assert found.value == pytest.approx(expected, abs=1e-9)


def test_alpha_of_numbers_that_are_all_different():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=80)
    ratings = truth + rng.normal(scale=0.5, size=(2, 80))
    expected = theirs.alpha(reliability_data=ratings, level_of_measurement="interval")
    found = krippendorff(ratings, np.arange(80), "interval")
    assert found.value == pytest.approx(expected)
    with pytest.raises(InputError, match="160 different ratings"):
        krippendorff(ratings, np.arange(80))


def test_nothing_comes_of_nothing():
    empty = np.zeros(0, dtype=int)
    assert kappa(empty, empty, 3, empty) is NOTHING
    assert accuracy(empty, empty, empty) is NOTHING
    assert krippendorff(np.full((2, 3), np.nan), np.arange(3)) is NOTHING
