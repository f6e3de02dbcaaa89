"""Agreement of verdicts that are names or levels: accuracy, kappa, Krippendorff's alpha."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from edgecritic import InputError
from edgecritic_bench.statistics.intervals import NOTHING, Estimate, of_sums, renumbered, share
from edgecritic_bench.tables import TIE, Floats, Ints

Weighting: TypeAlias = Literal["none", "linear", "quadratic"]
Measure: TypeAlias = Literal["nominal", "ordinal", "interval"]
TieRule: TypeAlias = Literal["wrong", "half", "dropped"]
"""What a predicted tie counts where gold has none."""

_MAX_CATEGORIES = 101


def accuracy(predicted: Ints, gold: Ints, clusters: Ints) -> Estimate:
    """Share of rows with the gold outcome, ties being outcomes like others.

    Args:
        predicted: (n,) outcomes.
        gold: (n,) outcomes.
        clusters: (n,) item numbers.
    """
    return share((predicted == gold) * 1.0, clusters)


def accuracy_without_ties(
    predicted: Ints, gold: Ints, clusters: Ints, ties: TieRule = "wrong"
) -> Estimate:
    """Share of rows with the gold winner, among those where gold is no tie.

    Args:
        predicted: (n,) FIRST, SECOND or TIE.
        gold: (n,) likewise.
        clusters: (n,) item numbers.
        ties: a predicted tie is wrong, half right, or leaves its row out.
    """
    rows = gold != TIE
    if ties == "dropped":
        rows = rows & (predicted != TIE)
    hits = (predicted[rows] == gold[rows]) * 1.0
    if ties == "half":
        hits = np.where(predicted[rows] == TIE, 0.5, hits)
    return share(hits, renumbered(clusters[rows]))


def kappa(
    one: Ints, other: Ints, n_categories: int, clusters: Ints, weighting: Weighting = "none"
) -> Estimate:
    """Cohen's kappa: agreement beyond what the two marginals give by chance.

    Args:
        one: (n,) categories, 0 to n_categories - 1.
        other: (n,) likewise.
        n_categories: how many there are.
        clusters: (n,) item numbers.
        weighting: how wrong a wrong category is: all alike, by distance, or by its square.

    Returns:
        The estimate; nothing where both name one category only, so that chance explains all.

    Source: J. Cohen, Educational and Psychological Measurement 20 (1960); Psychological Bulletin
        70 (1968).
    """
    if not len(one):
        return NOTHING
    levels = np.arange(n_categories)
    distance = np.abs(levels[:, None] - levels[None, :]).astype(np.float64)
    if weighting == "quadratic":
        distance = distance**2
    elif weighting == "none":
        distance = (distance > 0) * 1.0
    terms = np.zeros((len(one), n_categories, n_categories))
    terms[np.arange(len(one)), one, other] = 1.0

    def statistic(tables: Floats) -> Floats:
        n = tables.sum(axis=(1, 2))
        chance = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :]
        seen, expected = ((part * distance).sum(axis=(1, 2)) for part in (tables, chance))
        found = np.full(len(tables), np.nan)
        np.divide(seen * n, expected, out=found, where=expected > 0)
        return 1 - found

    return of_sums(terms, statistic, clusters)


def krippendorff(ratings: Floats, clusters: Ints, measure: Measure = "nominal") -> Estimate:
    """Krippendorff's alpha: 1 is perfect, 0 is chance, for any number of raters, with gaps.

    Args:
        ratings: (raters, n) values; NaN where a rater left a row out.
        clusters: (n,) item numbers.
        measure: whether values are names, ranks or numbers.

    Returns:
        The estimate; nothing where no row has two ratings, or where all are equal.

    Raises:
        InputError: more than 101 different values that are names or ranks.

    Source: K. Krippendorff, Computing Krippendorff's alpha-reliability (2011).
    """
    paired = np.isfinite(ratings).sum(axis=0) >= 2
    ratings, clusters = ratings[:, paired], renumbered(clusters[paired])
    if not ratings.shape[1]:
        return NOTHING
    if measure == "interval":
        return _interval_alpha(ratings, clusters)
    values = np.unique(ratings[np.isfinite(ratings)])
    if len(values) > _MAX_CATEGORIES:
        raise InputError(
            f"there are {len(values)} different ratings, more than {_MAX_CATEGORIES} categories",
            "round them to levels, or measure them as an interval",
        )
    counts = (ratings[:, :, None] == values).sum(axis=0).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(len(values))
    pairs[:, diagonal, diagonal] -= counts
    terms = pairs / (counts.sum(axis=1) - 1)[:, None, None]

    def statistic(coincidences: Floats) -> Floats:
        totals = coincidences.sum(axis=2)
        distance = _ordinal(totals) if measure == "ordinal" else 1.0 - np.eye(len(values))
        seen = (coincidences * distance).sum(axis=(1, 2))
        chance = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
        return _alpha(seen, chance, totals.sum(axis=1))

    return of_sums(terms, statistic, clusters)


def _ordinal(totals: Floats) -> Floats:
    """(r, v, v) squared distances of ranks: the ratings between two values, ends counted half."""
    middle = np.cumsum(totals, axis=1) - totals / 2
    return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2, dtype=np.float64)


def _interval_alpha(ratings: Floats, clusters: Ints) -> Estimate:
    """Alpha of numbers, from moments: no table of all values is needed."""
    known = np.isfinite(ratings)
    centred = np.where(known, ratings - ratings[known].mean(), 0.0)
    m, s1, s2 = known.sum(axis=0) * 1.0, centred.sum(axis=0), (centred**2).sum(axis=0)
    # The squared differences of all ordered pairs of a row's m ratings are 2 m s2 - 2 s1^2.
    within = 2 * (m * s2 - s1**2) / (m - 1)
    terms = np.stack([within, m, s1, s2], axis=1)

    def statistic(sums: Floats) -> Floats:
        seen, n, s1, s2 = sums.T
        return _alpha(seen, 2 * (n * s2 - s1**2), n)

    return of_sums(terms, statistic, clusters)


def _alpha(seen: Floats, chance: Floats, n: Floats) -> Floats:
    found = np.full(len(seen), np.nan)
    np.divide(seen * (n - 1), chance, out=found, where=chance > 1e-12)
    return 1 - found
