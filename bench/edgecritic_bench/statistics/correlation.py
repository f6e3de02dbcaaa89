"""Pearson's, Spearman's and Kendall's correlation, with their bootstrap over items."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.statistics.intervals import (
    NOTHING,
    Estimate,
    interval,
    of_counts,
    of_sums,
    weights,
)
from edgecritic_bench.tables import Floats, Ints

_ROWS = 256
"""Rows of a comparison of every row with every other that are in memory at once."""


def pearson(x: Floats, y: Floats, clusters: Ints) -> Estimate:
    """Linear correlation of two columns.

    Args:
        x: (n,) numbers.
        y: (n,) numbers.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Returns:
        The estimate; nothing where a column does not vary.
    """
    if not len(x):
        return NOTHING
    # Around the mean, where sums of squares lose no digits.
    u, v = x - x.mean(), y - y.mean()
    terms = np.stack([np.ones_like(u), u, v, u * u, v * v, u * v], axis=1)
    # What rounding leaves of a column that does not vary is no variance.
    floors = [len(x) * (np.finfo(np.float64).eps * max(1.0, np.abs(c).max())) ** 2 for c in (x, y)]

    def statistic(sums: Floats) -> Floats:
        n, s_u, s_v, s_uu, s_vv, s_uv = sums.T
        spread_u, spread_v = s_uu - s_u**2 / n, s_vv - s_v**2 / n
        varies = (spread_u > floors[0]) & (spread_v > floors[1])
        product = np.where(varies, spread_u * spread_v, 1.0)
        return _divided(s_uv - s_u * s_v / n, np.where(varies, np.sqrt(product), 0.0))

    return of_sums(terms, statistic, clusters)


def spearman(x: Floats, y: Floats, clusters: Ints) -> Estimate:
    """Rank correlation of two columns, equal values sharing their mean rank.

    Args:
        x: (n,) numbers.
        y: (n,) numbers.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Returns:
        The estimate; nothing where a column does not vary.
    """
    return of_counts(lambda counts: _rank_correlation(x, y, counts), clusters)


def spearman_change(
    before: Floats, after: Floats, gold: Floats, clusters: Ints
) -> tuple[float, float, Estimate]:
    """Rank correlations of two columns with a third, and how far they are apart.

    Args:
        before: (n,) numbers.
        after: (n,) numbers of the same rows.
        gold: (n,) what both are correlated with.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Returns:
        Of `before`, of `after`, and the second less the first, items resampled together; NaN and
        nothing where a column does not vary.
    """
    every = np.ones((1, len(gold)))
    if not len(gold):
        return float("nan"), float("nan"), NOTHING
    found = [float(_rank_correlation(column, gold, every)[0]) for column in (before, after)]
    change = of_counts(
        lambda counts: (
            _rank_correlation(after, gold, counts) - _rank_correlation(before, gold, counts)
        ),
        clusters,
    )
    return found[0], found[1], change


def _rank_correlation(x: Floats, y: Floats, counts: Floats) -> Floats:
    """(r,) Spearman's correlation where row i occurs counts[:, i] times."""
    rank_x, rank_y = _ranks(x, counts), _ranks(y, counts)
    total = counts.sum(axis=1, keepdims=True)
    rank_x = rank_x - (counts * rank_x).sum(axis=1, keepdims=True) / total
    rank_y = rank_y - (counts * rank_y).sum(axis=1, keepdims=True) / total
    covariance = (counts * rank_x * rank_y).sum(axis=1)
    spread = np.sqrt((counts * rank_x**2).sum(axis=1) * (counts * rank_y**2).sum(axis=1))
    return _divided(covariance, spread)


def _ranks(values: Floats, counts: Floats) -> Floats:
    """(r, n) average ranks of the values among all copies."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
    return np.asarray(ranks[:, group], dtype=np.float64)


def kendall(x: Floats, y: Floats, clusters: Ints) -> Estimate:
    """Kendall's tau-b: concordant less discordant pairs, among those tied in neither column.

    Time grows with the square of the rows, memory with that of the items.

    Args:
        x: (n,) numbers.
        y: (n,) numbers.
        clusters: (n,) item numbers, 0 to n_items - 1.

    Returns:
        The estimate; nothing where a column does not vary.

    Source: M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945).
    """
    if not len(x):
        return NOTHING
    by_item = _pair_sums(x, y, clusters)
    drawn = weights(int(clusters.max()) + 1)

    def statistic(counts: Floats) -> Floats:
        # Copies of a row tie with each other in both columns, so they add nothing anywhere.
        balance, open_x, open_y = (((counts @ sums) * counts).sum(axis=1) for sums in by_item)
        return _divided(balance, np.sqrt(open_x * open_y))

    value = float(statistic(np.ones((1, drawn.shape[1])))[0])
    return interval(value, statistic(drawn), len(x), drawn.shape[1])


def _pair_sums(x: Floats, y: Floats, clusters: Ints) -> Floats:
    """(3, n_items, n_items) sums over pairs of rows: of sign x sign, and of open in x and in y."""
    order = np.argsort(clusters, kind="stable")
    x, y, item = x[order], y[order], clusters[order]
    starts = np.flatnonzero(np.diff(item, prepend=-1))
    sums = np.zeros((3, len(starts), len(starts)))
    for first in range(0, len(x), _ROWS):
        rows = slice(first, first + _ROWS)
        signs = [np.sign(column[rows, None] - column[None, :]) for column in (x, y)]
        for total, values in zip(
            sums, (signs[0] * signs[1], np.abs(signs[0]), np.abs(signs[1])), strict=True
        ):
            np.add.at(total, item[rows], np.add.reduceat(values, starts, axis=1))
    return sums


def _divided(above: Floats, below: Floats) -> Floats:
    """Quotients; NaN where nothing is below."""
    quotient = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient
