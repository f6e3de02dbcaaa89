"""Orders, models, ratings and biases: against scipy and scikit-learn, and by algebra."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression

from edgecritic import InputError
from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.bias import length_bias, position_bias, repetition
from edgecritic_bench.statistics.elo import Battle, ratings, win_probability
from edgecritic_bench.statistics.intervals import NOTHING
from edgecritic_bench.statistics.models import (
    by_model,
    histogram,
    model_rank_tau,
    ranked,
    tau_b,
    wasserstein,
)
from edgecritic_bench.statistics.ordering import (
    levenshtein,
    normalised_levenshtein,
    ranking_distance,
)
from edgecritic_bench.tables import FIRST, SECOND, TIE

TEXT = st.text("ABCD", max_size=6)


@cache
def recursive(one: str, other: str) -> int:
    """The definition, letter by letter."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        recursive(one[1:], other) + 1,
        recursive(one, other[1:]) + 1,
        recursive(one[1:], other[1:]) + (one[0] != other[0]),
    )


@given(TEXT, TEXT, TEXT)
def test_levenshtein_is_the_edit_metric(a, b, c):
    assert levenshtein(a, b) == recursive(a, b) == levenshtein(b, a)
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)
    assert 0 <= normalised_levenshtein(a, b) <= 1


def test_ranking_distance_by_hand():
    # ABCD against itself, a neighbours' swap (two substitutions), and the reverse.
    orders, golds = ["ABCD", "BACD", "DCBA"], ["ABCD"] * 3
    found = ranking_distance(orders, golds, np.arange(3))
    assert found.value == pytest.approx((0 + 2 / 4 + 4 / 4) / 3)
    with pytest.raises(InputError, match="3 orders stand against 2"):
        ranking_distance(orders, golds[:2], np.arange(3))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30))
def test_the_distance_of_distributions_is_scipys(seed, n, m):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(1, 11, n) * 1.0, rng.normal(5, 2, m)
    assert wasserstein(one, other) == pytest.approx(stats.wasserstein_distance(one, other))


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_tau_of_a_few_models_is_scipys(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, n) / 3, rng.integers(0, 5, n) / 7
    expected = stats.kendalltau(x, y).statistic
    found = tau_b(x, y)
    assert (math.isnan(found) and math.isnan(expected)) or found == pytest.approx(expected)


def test_models_by_hand():
    model = ["gpt", "llava", "gpt", "llava"]
    critic, reference = np.array([8.4, 3.0, 9.6, 5.0]), np.array([9.0, 2.0, 9.0, 4.0])
    found = by_model(critic, reference, model, np.arange(1.0, 11.0), np.array([0, 0, 1, 1]))
    assert list(found) == ["gpt", "llava"]
    assert found["gpt"].critic.value == pytest.approx(9.0)
    assert found["llava"].reference.value == pytest.approx(3.0)
    # 8.4 is nearest to 8, 9.6 to 10; the reference says 9 both times.
    assert found["gpt"].critic_levels.tolist() == [0] * 7 + [0.5, 0, 0.5]
    assert found["gpt"].reference_levels[8] == 1
    assert found["gpt"].distance == pytest.approx(0.6)
    assert histogram(np.array([1.5]), np.arange(1.0, 4.0)).tolist() == [1, 0, 0]
    assert ranked({"b": 1.0, "a": 1.0, "c": 2.0}) == ("c", "a", "b")


def test_the_ranking_of_models_is_resampled_by_item():
    rng = np.random.default_rng(2)
    n_items, names = 15, ["a", "b", "c", "d"]
    model = names * n_items
    clusters = np.repeat(np.arange(n_items), 4)
    merit = np.tile([1.0, 2.0, 3.0, 4.0], n_items)
    critic, reference = merit + rng.normal(0, 2, 60), merit + rng.normal(0, 2, 60)
    found = model_rank_tau(critic, reference, model, clusters)
    column = np.tile(np.arange(4), n_items)
    means = [[s[column == k].mean() for k in range(4)] for s in (critic, reference)]
    assert found.value == pytest.approx(stats.kendalltau(*means).statistic)
    by_hand = []
    for counts in intervals.weights(n_items):
        weights = counts[clusters]
        resampled = [
            [np.average(s[column == k], weights=weights[column == k]) for k in range(4)]
            for s in (critic, reference)
        ]
        by_hand.append(tau_b(*map(np.array, resampled)))
    low, high = np.percentile(by_hand, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_model_has_no_ranking():
    assert model_rank_tau(np.ones(4), np.ones(4), ["a"] * 4, np.arange(4)) is NOTHING


def test_ratings_are_those_of_a_logistic_regression():
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d", "e"]
    strength = dict(zip(names, [0.0, 0.4, 0.8, 1.1, 2.0], strict=True))
    battles = []
    for _ in range(800):
        one, two = rng.choice(names, 2, replace=False)
        chance = 1 / (1 + math.exp(strength[two] - strength[one]))
        tied = rng.random() < 0.15
        winner = "tie" if tied else "model_a" if rng.random() < chance else "model_b"
        battles.append(Battle(str(one), str(two), winner, weight=float(rng.choice([1, 3]))))
    rows, wins, weights = [], [], []
    for battle in battles:
        # A win counts twice, a tie is a win each: so that ties weigh as much as wins.
        row = [(name == battle.model_a) * 1.0 - (name == battle.model_b) for name in names]
        for half in (1, 0):
            rows.append(row)
            wins.append(half if battle.winner == "tie" else int(battle.winner == "model_a"))
            weights.append(battle.weight)
    fit = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=1000)
    fit.fit(np.array(rows) * math.log(10), wins, sample_weight=weights)
    points = 400 * fit.coef_[0]
    found = ratings(battles, anchor="b")
    assert found["b"] == 1000
    for name, point in zip(names, points, strict=True):
        assert found[name] == pytest.approx(point - points[1] + 1000, abs=0.05)
    assert next(iter(found)) == "e"


def test_two_models_are_rated_by_their_odds():
    battles = [Battle("a", "b", "model_a")] * 3 + [Battle("b", "a", "model_a")]
    found = ratings(battles)
    # Three to one.
    assert found["a"] - found["b"] == pytest.approx(400 * math.log10(3))
    assert win_probability(found["a"], found["b"]) == pytest.approx(0.75)


def test_ratings_that_would_be_infinite_are_refused():
    with pytest.raises(InputError, match="no chain of wins leads from b to a"):
        ratings([Battle("a", "b", "model_a")])
    with pytest.raises(InputError, match="no battles"):
        ratings([])


def test_repetition_by_hand():
    # Three of three, two of three, one of three; an unread verdict agrees with nothing.
    verdicts = np.array([[0, 1, 0], [0, 1, 1], [0, 2, -1]])
    assert repetition(verdicts, np.arange(3)).value == pytest.approx((3 + 2 + 1) / 9)
    assert repetition(np.full((2, 1), -1), np.arange(1)).value == 0


def test_position_bias_by_hand():
    given_order = np.array([FIRST, FIRST, FIRST, SECOND, TIE])
    swapped = np.array([FIRST, SECOND, SECOND, FIRST, FIRST])
    found = position_bias(given_order, swapped, np.arange(5))
    assert found.consistency.value == pytest.approx(1 / 5)
    # Twice the one shown first won in both orders, once the one shown last.
    assert found.preference.value == pytest.approx((2 - 1) / 5)
    assert found.first_when_torn.value == pytest.approx(2 / 3)


@given(st.integers(0, 10**6))
def test_swapping_all_pairs_leaves_the_position_bias(seed):
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, 3, (2, 30))
    flip = np.array([SECOND, FIRST, TIE])
    before = position_bias(one, two, np.arange(30))
    after = position_bias(flip[two], flip[one], np.arange(30))
    assert after.preference.value == pytest.approx(before.preference.value)
    assert after.consistency == before.consistency


def test_length_bias_by_hand():
    predicted = np.array([FIRST, FIRST, SECOND, SECOND, FIRST, TIE])
    gold = np.array([FIRST, SECOND, SECOND, FIRST, TIE, FIRST])
    lengths = [(9, 1), (9, 1), (1, 9), (1, 9), (9, 1), (9, 1)]
    found = length_bias(predicted, gold, lengths, np.arange(6))
    # Of the four decided pairs all longer ones were chosen, and two were better.
    assert found.chosen.value == 1
    assert found.gold.value == pytest.approx(0.5)
    assert found.excess.value == pytest.approx(0.5)
    # Right where the longer is better, wrong where the shorter is.
    assert found.gap.value == pytest.approx(1)
    equal = length_bias(predicted[:1], gold[:1], [(3, 3)], np.arange(1))
    assert equal.chosen is equal.gap is NOTHING
