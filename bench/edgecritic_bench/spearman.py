"""Spearman's rank correlation with average ranks, and its bootstrap over items."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.intervals import NOTHING, RESAMPLES, Estimate, interval, weights
from edgecritic_bench.tables import Floats, Ints

_CHUNK = 100
"""Resamples in memory at once."""


def spearman(x: Floats, y: Floats, clusters: Ints) -> Estimate:
    """Rank correlation of two columns.

    Args:
        x: (n,) numbers.
        y: (n,) numbers.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Returns:
        The estimate; nothing where a column does not vary.
    """
    if not len(x):
        return NOTHING
    one = float(_weighted(x, y, np.ones((1, len(x))))[0])
    drawn = weights(int(clusters.max()) + 1)
    resampled = np.concatenate(
        [
            _weighted(x, y, drawn[start : start + _CHUNK][:, clusters])
            for start in range(0, RESAMPLES, _CHUNK)
        ]
    )
    return interval(one, resampled, len(x), drawn.shape[1])


def _weighted(x: Floats, y: Floats, counts: Floats) -> Floats:
    """(r,) correlations when row i occurs counts[:, i] times."""
    rank_x, rank_y = _ranks(x, counts), _ranks(y, counts)
    total = counts.sum(axis=1, keepdims=True)
    rank_x = rank_x - (counts * rank_x).sum(axis=1, keepdims=True) / total
    rank_y = rank_y - (counts * rank_y).sum(axis=1, keepdims=True) / total
    covariance = (counts * rank_x * rank_y).sum(axis=1)
    spread = np.sqrt((counts * rank_x**2).sum(axis=1) * (counts * rank_y**2).sum(axis=1))
    correlation = np.full(len(counts), np.nan)
    np.divide(covariance, spread, out=correlation, where=spread > 0)
    return correlation


def _ranks(values: Floats, counts: Floats) -> Floats:
    """(r, n) average ranks of the values among all copies."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
    return np.asarray(ranks[:, group], dtype=np.float64)
