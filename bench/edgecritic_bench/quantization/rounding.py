"""The same quant type, rounded with different importance matrices or none: row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from edgecritic_bench.quantization.columns import PairColumns, ScoreColumns
from edgecritic_bench.quantization.results import JudgedArm
from edgecritic_bench.statistics.divergence import verdict_divergences
from edgecritic_bench.statistics.intervals import NOTHING, Estimate, mean, renumbered
from edgecritic_bench.tables import Bools, Floats


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms that differ in what weighed their rounding alone, both held to the same third.

    Attributes:
        quant: type of the language model.
        arms: names of both.
        base: name of the arm that they are held to.
        changed: share of pairs with another winner than the base's, the second arm's less the
            first's; below 0 where the second turns fewer.
        kl: divergence from the base at the verdicts of pairs, nats, likewise.
        moved: mean distance of scores from the base's, levels, likewise.
    """

    quant: str
    arms: tuple[str, str]
    base: str
    changed: Estimate
    kl: Estimate
    moved: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form but for NaN."""
        return {**asdict(self), "arms": list(self.arms)}


def contrasts(arms: Sequence[JudgedArm]) -> Iterator[Contrast]:
    """Every two arms of one type, engine and vision tower that were weighed differently.

    Args:
        arms: the reference first.
    """
    by_name = {one.arm.name: one for one in arms}
    for one, other in combinations(arms, 2):
        alike = all(
            getattr(one.arm, field) == getattr(other.arm, field)
            for field in ("backend", "language_model", "tower", "role")
        )
        if alike and one.arm.rounding != other.arm.rounding:
            base = by_name[one.arm.base or arms[0].arm.name]
            pairs = base.pairs, one.pairs, other.pairs
            changed, kl = _changed(*pairs), _kl(*pairs)
            names = one.arm.name, other.arm.name
            moved = _moved(base.scores, one.scores, other.scores)
            yield Contrast(one.arm.language_model, names, base.arm.name, changed, kl, moved)


def _changed(base: PairColumns, one: PairColumns, other: PairColumns) -> Estimate:
    turned = [(arm.winner != base.winner) * 1.0 for arm in (one, other)]
    return _mean(turned[1] - turned[0], base, np.ones(len(base), dtype=bool))


def _kl(base: PairColumns, one: PairColumns, other: PairColumns) -> Estimate:
    read = base.readable & one.readable & other.readable
    found = [_divergences(base, arm, read) for arm in (one, other)]
    return _mean(found[1] - found[0], base, read)


def _divergences(base: PairColumns, arm: PairColumns, read: Bools) -> Floats:
    """(n,) of the rows that were read, mean of both orders."""
    orders = [part.orders[read].reshape(-1, part.orders.shape[-1]) for part in (base, arm)]
    masses = base.mass[read].ravel(), arm.mass[read].ravel()
    both = verdict_divergences(orders[0], orders[1], masses).reshape(-1, 2)
    return np.asarray(both.mean(axis=1), dtype=np.float64)


def _moved(base: ScoreColumns, one: ScoreColumns, other: ScoreColumns) -> Estimate:
    read = base.readable & one.readable & other.readable
    far = [np.abs(arm.score[read] - base.score[read]) for arm in (one, other)]
    return _mean(far[1] - far[0], base, read)


def _mean(values: Floats, rows: PairColumns | ScoreColumns, read: Bools) -> Estimate:
    return mean(values, renumbered(rows.item[read])) if read.any() else NOTHING
