"""What changed between two versions' records of the same items, row paired with row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecritic import InputError
from edgecritic_bench.calibration import Calibration
from edgecritic_bench.pairwise import preference_hits
from edgecritic_bench.records import PairwiseRecord, Record
from edgecritic_bench.statistics.correlation import spearman_change
from edgecritic_bench.statistics.intervals import NOTHING, Estimate, mean
from edgecritic_bench.statistics.paired import Flips, sign_test
from edgecritic_bench.tables import (
    TIE,
    Floats,
    Ints,
    expected_levels,
    pair_table,
    score_table,
)
from edgecritic_bench.twins import clusters_of, twin_rows

_HINT = "judge the same evaluation sets with both versions, such as with: edgecritic train judge"


@dataclass(frozen=True, slots=True)
class Change:
    """One number before and after, on the same rows.

    Attributes:
        before: of the first version; NaN without rows.
        after: of the second.
        difference: after less before, items resampled, both versions together.
    """

    before: float
    after: float
    difference: Estimate

    @classmethod
    def of(cls, before: Floats, after: Floats, clusters: Ints) -> Change:
        """Of means over (n,) rows."""
        if not len(before):
            return cls(float("nan"), float("nan"), NOTHING)
        return cls(float(before.mean()), float(after.mean()), mean(after - before, clusters))


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed on some rows, those with the right picture that both versions could read.

    Attributes:
        pairs: share right of the pairs that the picture decides, without ties.
        twins: share of texts right on both pictures.
        spearman: of expected scores with gold.
        error: mean absolute error of expected scores, in levels; less is better.
        flips: of the same pairs, right to wrong and wrong to right, with McNemar's exact test,
            which takes rows for independent.
        p_value: of the same question asked of items, whose rows go together.
    """

    pairs: Change
    twins: Change
    spearman: Change
    error: Change
    flips: Flips
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions on the same items.

    Attributes:
        splits: by split.
        kinds: by question type, all splits together.
        unread: records that one version or both could not read.
        missing: records that one version has and the other has not.
    """

    splits: Mapping[str, Changes]
    kinds: Mapping[str, Changes]
    unread: int
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, but for what is not finite."""
        return asdict(self)


def compare_versions(
    before: Sequence[Record], after: Sequence[Record], calibrations: tuple[Calibration, Calibration]
) -> Comparison:
    """Compare row by row.

    Args:
        before: records of the first version.
        after: of the second, on the same items.
        calibrations: of both; their temperatures make expected scores.

    Raises:
        InputError: they have no readable verdict in common, or gold differs: other items.
    """
    known = {record.key: record for record in after}
    both = [(one, known[one.key]) for one in before if one.key in known]
    for one, two in both:
        if _gold(one) != _gold(two):
            raise InputError(
                f"{one.place.item} is not the same in both: gold is {_gold(one)} and {_gold(two)}",
                _HINT,
            )
    shown = [(one, two) for one, two in both if one.place.condition == "right"]
    read = [(one, two) for one, two in shown if one.readable and two.readable]
    if not read:
        raise InputError("the two versions have no readable verdict in common", _HINT)
    temperatures = tuple(found.pointwise_temperature for found in calibrations)

    def grouped(name: str) -> dict[str, Changes]:
        names = sorted({getattr(one.place, name) for one, _ in read})
        return {
            value: _changes([p for p in read if getattr(p[0].place, name) == value], temperatures)
            for value in names
        }

    return Comparison(
        splits=grouped("split"),
        kinds=grouped("kind"),
        unread=len(shown) - len(read),
        missing=len(before) + len(after) - 2 * len(both),
    )


def _gold(record: Record) -> str | int:
    return record.winner if isinstance(record, PairwiseRecord) else record.gold


def _changes(read: Sequence[tuple[Record, Record]], temperatures: Sequence[float]) -> Changes:
    pairs = [pair_table([both[side] for both in read]) for side in (0, 1)]
    rows = pairs[0].decided & (pairs[0].gold != TIE)
    decided = [table.where(rows) for table in pairs]
    before, after = (preference_hits(table) for table in decided)
    clusters = decided[0].clusters
    on_a, on_b = twin_rows(decided[0])
    twins = [((hits[on_a] == 1) & (hits[on_b] == 1)) * 1.0 for hits in (before, after)]
    return Changes(
        pairs=Change.of(before, after, clusters),
        twins=Change.of(twins[0], twins[1], clusters_of(decided[0], on_a)),
        **_of_scores(read, temperatures),
        flips=Flips.of(before, after),
        p_value=sign_test(after - before, clusters),
    )


def _of_scores(
    read: Sequence[tuple[Record, Record]], temperatures: Sequence[float]
) -> dict[str, Change]:
    tables = [score_table([both[side] for both in read]) for side in (0, 1)]
    gold, clusters = tables[0].gold.astype(np.float64), tables[0].clusters
    before, after = (
        expected_levels(table.log_probs, temperature)
        for table, temperature in zip(tables, temperatures, strict=True)
    )
    return {
        "spearman": Change(*spearman_change(before, after, gold, clusters)),
        "error": Change.of(np.abs(before - gold), np.abs(after - gold), clusters),
    }
