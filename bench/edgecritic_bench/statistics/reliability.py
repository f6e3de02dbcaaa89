"""Whether probabilities mean what they say: reliability bins, calibration error, Brier score.

And how much can be judged alone: the share of rows above the confidence at which the critic is as
often right as one wants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecritic_bench.statistics.intervals import SEED, Estimate, mean, of_counts, of_sums
from edgecritic_bench.tables import Floats, Ints

N_BINS = 15
_FLOOR_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows by their confidence, in bins of equal width.

    Attributes:
        confidence: (N_BINS,) mean confidence; NaN where a bin is empty.
        accuracy: (N_BINS,) share of right rows; NaN likewise.
        count: (N_BINS,) rows.
        error: expected calibration error with its interval.
        floor: the error that a perfectly calibrated critic would show on as many rows with these
            confidences, from chance alone.
    """

    confidence: Floats
    accuracy: Floats
    count: Ints
    error: Estimate
    floor: float


def reliability(confidence: Floats, hit: Floats, clusters: Ints) -> Reliability:
    """Bins, calibration error and its floor.

    Args:
        confidence: (n,) probability of the prediction, in [0, 1].
        hit: (n,) 1 where it was right, else 0.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Source: Guo et al., On calibration of modern neural networks, arXiv:1706.04599, section 2.
    """
    bins = _bins(confidence)
    count = np.bincount(bins, minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, N_BINS) / count
        accuracy = np.bincount(bins, hit, N_BINS) / count
    return Reliability(
        mean_confidence,
        accuracy,
        count.astype(np.int64),
        _error(confidence, hit, clusters),
        _floor(confidence),
    )


def calibration_error(confidence: Floats, hit: Floats) -> float:
    """Expected calibration error: the mean over rows of their bin's |confidence - accuracy|."""
    gaps = np.bincount(_bins(confidence), confidence - hit, N_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _bins(confidence: Floats) -> Ints:
    """Bin k holds the confidences in (k / N_BINS, (k + 1) / N_BINS]."""
    return np.clip(np.ceil(confidence * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)


def _error(confidence: Floats, hit: Floats, clusters: Ints) -> Estimate:
    terms = np.zeros((len(confidence), N_BINS + 1))
    terms[np.arange(len(confidence)), _bins(confidence)] = confidence - hit
    terms[:, N_BINS] = 1
    return of_sums(
        terms, lambda sums: np.abs(sums[:, :N_BINS]).sum(axis=1) / sums[:, N_BINS], clusters
    )


def _floor(confidence: Floats) -> float:
    if not len(confidence):
        return float("nan")
    rng = np.random.default_rng(SEED)
    total = 0.0
    for _ in range(_FLOOR_DRAWS):
        hits = (rng.random(len(confidence)) < confidence).astype(np.float64)
        total += calibration_error(confidence, hits)
    return total / _FLOOR_DRAWS


def brier(probabilities: Floats, gold: Ints, clusters: Ints) -> Estimate:
    """Mean squared distance of the probabilities from what came true; 0 is best, 2 worst.

    Args:
        probabilities: (n, k), rows summing to 1.
        gold: (n,) columns.
        clusters: (n,) item numbers.

    Source: G. W. Brier, Monthly Weather Review 78 (1950), in its original form over all outcomes.
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(gold)), gold] = 1
    return mean(((probabilities - truth) ** 2).sum(axis=1), clusters)


def coverage(confidence: Floats, hit: Floats, precision: float, clusters: Ints) -> Estimate:
    """The greatest share of rows that can be judged alone at a wanted precision.

    Rows are taken from the surest on; those of equal confidence are taken together, since no
    threshold parts them.

    Args:
        confidence: (n,) probability of the prediction.
        hit: (n,) 1 where it was right, else 0.
        precision: share of right verdicts wanted among the rows taken, in (0, 1].
        clusters: (n,) item numbers.

    Returns:
        The share; 0 where not even the surest rows are right often enough.
    """
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.diff(confidence[order]) != 0, True) if len(order) else np.zeros(0, bool)

    def statistic(counts: Floats) -> Floats:
        taken = np.cumsum(counts[:, order], axis=1)
        right = np.cumsum(counts[:, order] * hit[order], axis=1)
        # A whisker below, for sums of halves that rounding leaves under the line.
        good = last & (right >= precision * taken - 1e-9)
        shares = np.where(good, taken, 0.0).max(axis=1) / taken[:, -1]
        return np.asarray(shares, dtype=np.float64)

    return of_counts(statistic, clusters)
