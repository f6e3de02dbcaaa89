"""How far a critic's judgements agree with gold, and whether the picture is why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecritic_bench.calibration import Calibration
from edgecritic_bench.pairwise import outcome_reliability, pairwise_estimates
from edgecritic_bench.pointwise import level_reliability, pointwise_estimates
from edgecritic_bench.records import Record
from edgecritic_bench.statistics.intervals import Estimate
from edgecritic_bench.statistics.reliability import Reliability
from edgecritic_bench.tables import PairTable, ScoreTable, pair_table, score_table


@dataclass(frozen=True, slots=True)
class Agreement:
    """Everything measured on one set of rows.

    Attributes:
        estimates: by metric name.
        pair_reliability: of the predicted outcome, before and after the temperature.
        level_reliability: of the most likely level, before and after the temperature.
        pairs: the readable pairwise rows with the right picture.
        scores: the readable pointwise rows with the right picture.
        unparsed: judgements without a readable verdict.
        judged: all judgements.
    """

    estimates: Mapping[str, Estimate]
    pair_reliability: tuple[Reliability, Reliability]
    level_reliability: tuple[Reliability, Reliability]
    pairs: PairTable
    scores: ScoreTable
    unparsed: int
    judged: int


def agreement(records: Sequence[Record], calibration: Calibration) -> Agreement:
    """All metrics of some records, usually those of one split.

    Args:
        records: of one engine.
        calibration: fitted on other records.
    """
    pairs, scores = pair_table(records), score_table(records)
    right, seen = pairs.where(~pairs.blank), scores.where(~scores.blank)
    pair_bins = tuple(
        outcome_reliability(right, t) for t in (1.0, calibration.pairwise_temperature)
    )
    level_bins = tuple(level_reliability(seen, t) for t in (1.0, calibration.pointwise_temperature))
    estimates = {
        **pairwise_estimates(pairs, calibration),
        **pointwise_estimates(scores, calibration.pointwise_temperature),
        "pair_ece_raw": pair_bins[0].error,
        "pair_ece": pair_bins[1].error,
        "level_ece_raw": level_bins[0].error,
        "level_ece": level_bins[1].error,
    }
    return Agreement(
        estimates=estimates,
        pair_reliability=(pair_bins[0], pair_bins[1]),
        level_reliability=(level_bins[0], level_bins[1]),
        pairs=right,
        scores=seen,
        unparsed=sum(not record.readable for record in records),
        judged=len(records),
    )


def by_kind(records: Sequence[Record], calibration: Calibration) -> dict[str, Agreement]:
    """`agreement` of each question type, in the order of their names."""
    kinds = sorted({record.place.kind for record in records})
    return {
        kind: agreement([r for r in records if r.place.kind == kind], calibration) for kind in kinds
    }
