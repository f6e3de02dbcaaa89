"""95% intervals: bootstrap over items, and Wilson's where every row is independent.

An item gives many rows: its two pictures, its pairs, both orders. They share pictures and texts,
so items are resampled, not rows. All resamples are integer weights of the items, which turns a
bootstrap of sums into one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from edgecritic_bench.tables import Floats, Ints

RESAMPLES = 2000
SEED = 20261123
_Z = 1.959963984540054
"""97.5% quantile of the normal distribution."""
_TAILS = (2.5, 97.5)
_CHUNK = 100
"""Resamples in memory at once, where each needs a row of counts of its own."""

Statistic: TypeAlias = Callable[[Floats], Floats]
"""Of r resamples at once: (r, ...) of counts or of sums to (r,) values, NaN where undefined."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% interval.

    Attributes:
        value: NaN where there is nothing to estimate it from.
        low: lower end; NaN where one item alone tells nothing of how items differ.
        high: upper end, likewise.
        n: rows.
        n_items: items that the rows come from.
    """

    value: float
    low: float
    high: float
    n: int
    n_items: int


NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0, 0)


@lru_cache(maxsize=4)
def weights(n_items: int) -> Floats:
    """(RESAMPLES, n_items) how often each resample draws each item; the same for every call."""
    rng = np.random.default_rng([SEED, n_items])
    drawn = rng.integers(0, n_items, (RESAMPLES, n_items))
    offsets = np.arange(RESAMPLES)[:, None] * n_items
    counts = np.bincount((drawn + offsets).ravel(), minlength=RESAMPLES * n_items)
    return counts.reshape(RESAMPLES, n_items).astype(np.float64)


def interval(value: float, resampled: Floats, n: int, n_items: int) -> Estimate:
    """An estimate with the percentiles of its resamples; those without any row are left out."""
    usable = resampled[np.isfinite(resampled)]
    if not len(usable) or not np.isfinite(value):
        return NOTHING
    if n_items < 2:
        return Estimate(float(value), float("nan"), float("nan"), n, n_items)
    low, high = np.percentile(usable, _TAILS)
    return Estimate(float(value), float(low), float(high), n, n_items)


def renumbered(labels: Ints) -> Ints:
    """Item numbers, from 0 and without gaps."""
    return np.asarray(np.unique(labels, return_inverse=True)[1], dtype=np.int64)


def sums_by_item(values: Floats, clusters: Ints) -> Floats:
    """(n_items, ...) sums over each item's rows."""
    sums = np.zeros((int(clusters.max()) + 1, *values.shape[1:]))
    np.add.at(sums, clusters, values)
    return sums


def of_counts(statistic: Statistic, clusters: Ints) -> Estimate:
    """A statistic that needs to know how often each row occurs.

    Args:
        statistic: of (r, n) counts; row i of the data occurs counts[:, i] times.
        clusters: (n,) item numbers.
    """
    if not len(clusters):
        return NOTHING
    drawn = weights(int(clusters.max()) + 1)
    value = float(statistic(np.ones((1, len(clusters))))[0])
    resampled = np.concatenate(
        [
            statistic(drawn[start : start + _CHUNK][:, clusters])
            for start in range(0, RESAMPLES, _CHUNK)
        ]
    )
    return interval(value, resampled, len(clusters), drawn.shape[1])


def of_sums(terms: Floats, statistic: Statistic, clusters: Ints) -> Estimate:
    """A statistic of sums over rows: means, moments, tables of counts.

    Args:
        terms: (n, ...) what each row adds.
        statistic: of (r, ...) sums.
        clusters: (n,) item numbers.
    """
    if not len(terms):
        return NOTHING
    sums = sums_by_item(terms, clusters)
    flat = sums.reshape(len(sums), -1)
    drawn = weights(len(sums))
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    resampled = statistic((drawn @ flat).reshape(RESAMPLES, *terms.shape[1:]))
    return interval(value, resampled, len(terms), len(sums))


def mean(values: Floats, clusters: Ints) -> Estimate:
    """The mean over rows.

    Args:
        values: (n,) one number a row.
        clusters: (n,) item numbers, 0 to n_items - 1, each occurring.
    """
    terms = np.stack([values, np.ones_like(values)], axis=1)
    return of_sums(terms, lambda sums: sums[:, 0] / sums[:, 1], clusters)


def share(hits: Floats, clusters: Ints) -> Estimate:
    """The share of hits among rows.

    Wilson's interval takes the place of the bootstrap where each item has one row, and, with
    items for rows, where all rows are alike: resampling ones gives nothing but ones, and that
    would claim certainty.

    Args:
        hits: (n,) in [0, 1]; a half for a draw.
        clusters: as for `mean`.
    """
    estimate = mean(hits, clusters)
    if estimate.n and (estimate.n == estimate.n_items or hits.min() == hits.max()):
        low, high = wilson(estimate.value * estimate.n_items, estimate.n_items)
        return Estimate(estimate.value, low, high, estimate.n, estimate.n_items)
    return estimate


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        hits: 0 to n.
        n: independent trials, at least 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
        JASA 22 (1927).
    """
    p, z2 = hits / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * float(np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)))
    # At the ends of the range the formula is exact but for rounding.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
