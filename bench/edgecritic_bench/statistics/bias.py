"""Biases that show without gold: repetition, the order of presentation, length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic_bench.statistics.intervals import (
    NOTHING,
    Estimate,
    mean,
    of_sums,
    renumbered,
    share,
)
from edgecritic_bench.tables import FIRST, SECOND, TIE, Floats, Ints


def repetition(verdicts: Ints, clusters: Ints) -> Estimate:
    """Share of a row's repeated verdicts that are its commonest one, averaged over rows.

    Args:
        verdicts: (repeats, n) outcomes or levels; -1 where none could be read, which agrees with
            nothing.
        clusters: (n,) item numbers.

    Source: the majority consistency criterion of MLLM-as-a-Judge, arXiv:2402.04788.
    """
    repeats, n = verdicts.shape
    commonest = np.zeros(n)
    for value in np.unique(verdicts[verdicts >= 0]):
        commonest = np.maximum(commonest, (verdicts == value).sum(axis=0))
    return mean(commonest / repeats, clusters)


@dataclass(frozen=True, slots=True)
class PositionBias:
    """What the order of presentation does.

    Attributes:
        consistency: share of pairs with the same winner in both orders.
        preference: share of all pairs that the response shown first won in both orders, less the
            share that the one shown last won in both: 0 is fair, 1 always the first.
        first_when_torn: of the pairs where each order names another winner, the share that the
            response shown first won; a half is fair.
    """

    consistency: Estimate
    preference: Estimate
    first_when_torn: Estimate


def position_bias(given: Ints, swapped: Ints, clusters: Ints) -> PositionBias:
    """Compare the verdicts of both orders.

    Args:
        given: (n,) FIRST, SECOND or TIE with the first response shown first.
        swapped: (n,) with the second shown first, told in the same labels.
        clusters: (n,) item numbers.

    Source: position consistency and preference fairness, L. Shi et al., arXiv:2406.07791.
    """
    shown_first = ((given == FIRST) & (swapped == SECOND)) * 1.0
    shown_last = ((given == SECOND) & (swapped == FIRST)) * 1.0
    torn = (shown_first + shown_last) > 0
    return PositionBias(
        consistency=share((given == swapped) * 1.0, clusters),
        preference=mean(shown_first - shown_last, clusters),
        first_when_torn=share(shown_first[torn], renumbered(clusters[torn])),
    )


@dataclass(frozen=True, slots=True)
class LengthBias:
    """What the length of responses does.

    Attributes:
        chosen: share of decided pairs whose longer response the critic preferred.
        gold: share of the same pairs whose longer response gold prefers.
        excess: the former less the latter, resampled together: 0 is fair.
        gap: accuracy where the longer response is better, less that where the shorter is.
    """

    chosen: Estimate
    gold: Estimate
    excess: Estimate
    gap: Estimate


def length_bias(
    predicted: Ints, gold: Ints, lengths: Sequence[tuple[int, int]], clusters: Ints
) -> LengthBias:
    """Whether longer responses are preferred beyond their merit.

    Pairs of equal length, with a tie as gold, or with a predicted tie tell nothing of it.

    Args:
        predicted: (n,) FIRST, SECOND or TIE.
        gold: (n,) likewise.
        lengths: (n,) characters of the first and of the second response.
        clusters: (n,) item numbers.
    """
    sizes = np.asarray(lengths, dtype=np.int64).reshape(-1, 2)
    rows = (sizes[:, 0] != sizes[:, 1]) & (gold != TIE) & (predicted != TIE)
    longer = np.where(sizes[rows, 0] > sizes[rows, 1], FIRST, SECOND)
    items = renumbered(clusters[rows])
    chosen, wanted = ((column[rows] == longer) * 1.0 for column in (predicted, gold))
    return LengthBias(
        chosen=share(chosen, items),
        gold=share(wanted, items),
        excess=mean(chosen - wanted, items),
        gap=_accuracy_gap((predicted == gold)[rows] * 1.0, wanted, items),
    )


def _accuracy_gap(hits: Floats, longer_is_right: Floats, clusters: Ints) -> Estimate:
    """Mean of hits where the longer is right, less their mean elsewhere."""
    other = 1 - longer_is_right
    terms = np.stack([hits * longer_is_right, longer_is_right, hits * other, other], axis=1)
    if not longer_is_right.any() or not other.any():
        return NOTHING

    def gap(sums: Floats) -> Floats:
        # A resample may hold pairs of one kind only.
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3], dtype=np.float64)

    return of_sums(terms, gap, clusters)
