"""Whether probabilities mean what they say: reliability bins and calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecritic_bench.intervals import NOTHING, SEED, Estimate, interval, sums_by_item, weights
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
    if not len(confidence):
        return NOTHING
    gaps = np.zeros((len(confidence), N_BINS))
    gaps[np.arange(len(confidence)), _bins(confidence)] = confidence - hit
    counts = np.bincount(clusters)
    drawn = weights(len(counts))
    resampled = np.abs(drawn @ sums_by_item(gaps, clusters)).sum(axis=1) / (drawn @ counts)
    value = calibration_error(confidence, hit)
    return interval(value, resampled, len(confidence), len(counts))


def _floor(confidence: Floats) -> float:
    if not len(confidence):
        return float("nan")
    rng = np.random.default_rng(SEED)
    total = 0.0
    for _ in range(_FLOOR_DRAWS):
        hits = (rng.random(len(confidence)) < confidence).astype(np.float64)
        total += calibration_error(confidence, hits)
    return total / _FLOOR_DRAWS
