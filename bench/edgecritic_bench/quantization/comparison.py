"""One arm against another on the same rows: flips, shifts, divergence, and what may be claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecritic_bench.quantization.columns import PairColumns, ScoreColumns
from edgecritic_bench.records import N_LEVELS
from edgecritic_bench.statistics.categorical import kappa
from edgecritic_bench.statistics.correlation import pearson
from edgecritic_bench.statistics.divergence import verdict_divergences, verdict_kl
from edgecritic_bench.statistics.equivalence import (
    ParityClaim,
    claim_mean_parity,
    claim_share_parity,
)
from edgecritic_bench.statistics.intervals import NOTHING, Estimate, mean, renumbered, share
from edgecritic_bench.statistics.paired import Flips
from edgecritic_bench.tables import Bools, Floats, Names

_FEW = 4
"""Rows of a group below which nothing is told of it."""
_OUTCOMES = 4
"""First, second, tie, unread."""
_RANGE = N_LEVELS - 1
"""Levels from the lowest score to the highest: what 100 points of a margin are."""


@dataclass(frozen=True, slots=True)
class PairComparison:
    """Pairs of one arm against those of another.

    Attributes:
        changed: share of pairs with another winner, whatever gold says.
        flips: right to wrong and wrong to right, with McNemar's exact test.
        claim: whether the arm is right as often; None with fewer than two items.
        kappa: agreement of the winners beyond chance.
        kl: mean divergence at the verdict, nats, each order by itself.
    """

    changed: Estimate
    flips: Flips
    claim: ParityClaim | None
    kappa: Estimate
    kl: Estimate


@dataclass(frozen=True, slots=True)
class ScoreComparison:
    """Scores of one arm against those of another, on levels 1 to 10.

    Attributes:
        shift: mean of the arm's scores less the other's.
        moved: mean absolute difference.
        same_level: share of rows with the same most likely level.
        pearson: of the two arms' scores.
        kl: mean divergence at the verdict, nats.
        claim: whether the arm's errors are as great; None with fewer than two items.
        matrix: (10, 10) counts: the other arm's level down, this one's across.
    """

    shift: Estimate
    moved: Estimate
    same_level: Estimate
    pearson: Estimate
    kl: Estimate
    claim: ParityClaim | None
    matrix: tuple[tuple[int, ...], ...]


def compare_pairs(base: PairColumns, arm: PairColumns, margin: float) -> PairComparison | None:
    """Compare pairs.

    Args:
        base: the arm that is held to.
        arm: the same rows by another.
        margin: of the claim, in shares.

    Returns:
        None without pairs.
    """
    if not len(base):
        return None
    both = base.readable & arm.readable
    return PairComparison(
        changed=share((base.winner != arm.winner) * 1.0, base.item),
        flips=Flips.of(base.hits, arm.hits),
        claim=(
            claim_share_parity(base.hits, arm.hits, base.item, margin)
            if len(np.unique(base.item)) > 1
            else None
        ),
        kappa=kappa(base.winner, arm.winner, _OUTCOMES, base.item),
        kl=_pair_kl(base, arm, both) if both.any() else NOTHING,
    )


def _pair_kl(base: PairColumns, arm: PairColumns, both: Bools) -> Estimate:
    items = renumbered(np.repeat(base.item[both], 2))
    columns = [part.orders[both].reshape(-1, part.orders.shape[-1]) for part in (base, arm)]
    masses = base.mass[both].ravel(), arm.mass[both].ravel()
    return verdict_kl(columns[0], columns[1], masses, items)


def compare_scores(base: ScoreColumns, arm: ScoreColumns, margin: float) -> ScoreComparison | None:
    """Compare scores, where both arms gave one.

    Args:
        base: the arm that is held to.
        arm: the same rows by another.
        margin: of the claim, as a share of the scale: 0.02 are 0.18 of nine levels.

    Returns:
        None without scores.
    """
    both = base.readable & arm.readable
    if not both.any():
        return None
    items = renumbered(base.item[both])
    before, after = base.score[both], arm.score[both]
    errors = [-np.abs(scores - base.gold[both]) for scores in (before, after)]
    return ScoreComparison(
        shift=mean(after - before, items),
        moved=mean(np.abs(after - before), items),
        same_level=share((base.level[both] == arm.level[both]) * 1.0, items),
        pearson=pearson(before, after, items),
        kl=mean(_score_kl(base, arm, both), items),
        claim=(
            claim_mean_parity(errors[0], errors[1], items, margin * _RANGE)
            if len(np.unique(items)) > 1
            else None
        ),
        matrix=_matrix(base, arm, both),
    )


def _score_kl(base: ScoreColumns, arm: ScoreColumns, both: Bools) -> Floats:
    """Row by row, since rubrics may have different numbers of levels."""
    found = []
    for row in np.flatnonzero(both):
        columns = [np.asarray(part.log_probs[row])[None, :] for part in (base, arm)]
        masses = base.mass[row : row + 1], arm.mass[row : row + 1]
        found.append(float(verdict_divergences(columns[0], columns[1], masses)[0]))
    return np.array(found, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Change:
    """What changed in one group of rows.

    Attributes:
        winners: share of pairs with another winner.
        scores: mean absolute difference of scores, in levels.
    """

    winners: Estimate
    scores: Estimate


def changes(
    pairs: tuple[PairColumns, PairColumns],
    scores: tuple[ScoreColumns, ScoreColumns],
    group: Literal["category", "source"],
) -> dict[str, Change]:
    """What changed between two arms, group by group.

    Args:
        pairs: of both arms.
        scores: likewise.
        group: the column to group by.
    """
    flipped = (pairs[0].winner != pairs[1].winner) * 1.0
    both = scores[0].readable & scores[1].readable
    moved = np.abs(scores[0].score - scores[1].score)
    pair_rows, score_rows = groups(getattr(pairs[0], group)), groups(getattr(scores[0], group))
    found = {}
    for name in sorted(pair_rows.keys() | score_rows.keys()):
        rows = pair_rows.get(name, np.zeros(len(flipped), dtype=bool))
        read = score_rows.get(name, np.zeros(len(moved), dtype=bool)) & both
        found[name] = Change(
            share(flipped[rows], renumbered(pairs[0].item[rows])) if rows.any() else NOTHING,
            mean(moved[read], renumbered(scores[0].item[read])) if read.any() else NOTHING,
        )
    return found


def groups(names: Names) -> dict[str, Bools]:
    """Masks of the groups that have more than a few rows, by name."""
    return {
        str(name): names == name
        for name in np.unique(names)
        if name and (names == name).sum() >= _FEW
    }


def _matrix(base: ScoreColumns, arm: ScoreColumns, both: Bools) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((N_LEVELS, N_LEVELS), dtype=np.int64)
    np.add.at(counts, (base.level[both] - 1, arm.level[both] - 1), 1)
    return tuple(tuple(int(count) for count in row) for row in counts)
