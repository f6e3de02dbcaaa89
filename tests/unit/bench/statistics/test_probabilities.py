"""Brier score, coverage and divergences: against scikit-learn and scipy, and by algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss

from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.divergence import kl, token_kl, verdict_kl
from edgecritic_bench.statistics.intervals import NOTHING
from edgecritic_bench.statistics.reliability import brier, coverage
from edgecritic_bench.tables import log_softmax


def probabilities(seed: int, n: int, k: int) -> np.ndarray:
    return np.exp(log_softmax(np.random.default_rng(seed).normal(size=(n, k)) * 3))


@given(st.integers(0, 10**6), st.integers(2, 50), st.integers(2, 6))
def test_brier_is_that_of_scikit_learn(seed, n, k):
    probs = probabilities(seed, n, k)
    gold = np.random.default_rng(seed).integers(0, k, n)
    expected = brier_score_loss(gold, probs, labels=list(range(k)), scale_by_half=False)
    assert brier(probs, gold, np.arange(n)).value == pytest.approx(expected)


def brute_coverage(confidence: np.ndarray, hit: np.ndarray, precision: float) -> float:
    shares = [0.0]
    for threshold in set(confidence):
        taken = confidence >= threshold
        if hit[taken].mean() >= precision - 1e-12:
            shares.append(taken.mean())
    return max(shares)


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.5, 0.75, 0.9, 1.0]))
def test_coverage_is_the_best_of_all_thresholds(seed, n, precision):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(1, 9, n) / 8
    hit = (rng.random(n) < confidence) * 1.0
    found = coverage(confidence, hit, precision, np.arange(n))
    assert found.value == pytest.approx(brute_coverage(confidence, hit, precision))


def test_resampled_coverage_is_the_coverage_of_the_resample():
    rng = np.random.default_rng(4)
    confidence, clusters = rng.random(40), np.repeat(np.arange(10), 4)
    hit = (rng.random(40) < confidence) * 1.0
    by_hand = []
    for counts in intervals.weights(10):
        rows = np.repeat(np.arange(40), counts.astype(int)[clusters])
        by_hand.append(brute_coverage(confidence[rows], hit[rows], 0.8))
    low, high = np.percentile(by_hand, [2.5, 97.5])
    found = coverage(confidence, hit, 0.8, clusters)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert coverage(np.empty(0), np.empty(0), 0.9, np.empty(0, int)) is NOTHING


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(2, 8))
def test_divergence_is_scipys_relative_entropy(seed, n, k):
    p, q = probabilities(seed, n, k), probabilities(seed + 1, n, k)
    assert kl(np.log(p), np.log(q)) == pytest.approx(stats.entropy(p, q, axis=1), abs=1e-12)
    assert kl(np.log(p), np.log(p)) == pytest.approx(np.zeros(n))


def test_what_the_reference_never_says_costs_nothing():
    reference = np.array([[0.0, -np.inf]])
    assert kl(reference, np.log([[0.25, 0.75]])) == pytest.approx(np.log(4))


def test_mass_that_leaves_the_verdict_counts():
    log_probs = np.log([[0.5, 0.3, 0.2]])
    mass = np.array([0.99]), np.array([0.5])
    rows = np.zeros(1, dtype=int)
    assert verdict_kl(log_probs, log_probs, (mass[0], mass[0]), rows).value == pytest.approx(0)
    # The outcomes keep their proportions, so it is the divergence of (0.99, 0.01) and (0.5, 0.5).
    expected = stats.entropy([0.99, 0.01], [0.5, 0.5])
    assert verdict_kl(log_probs, log_probs, mass, rows).value == pytest.approx(expected)
    # The parts of a verdict with all of the mass are all there is.
    other = np.log([[0.6, 0.3, 0.1]])
    whole = (np.ones(1), np.ones(1))
    expected = stats.entropy([0.5, 0.3, 0.2], [0.6, 0.3, 0.1])
    assert verdict_kl(log_probs, other, whole, rows).value == pytest.approx(expected)


def test_token_divergence_takes_logits():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 30, 50)) * 4 + 100
    expected = stats.entropy(np.exp(one - 100), np.exp(two - 100), axis=1).mean()
    assert token_kl(one, two, np.arange(30)).value == pytest.approx(expected)
