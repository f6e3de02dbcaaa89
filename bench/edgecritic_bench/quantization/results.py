"""Everything that a report tells, as one tree of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.arms import Arm
from edgecritic_bench.quantization.columns import (
    PairColumns,
    ScoreColumns,
    Settings,
    pair_columns,
    score_columns,
)
from edgecritic_bench.quantization.comparison import (
    Change,
    PairComparison,
    ScoreComparison,
    changes,
    compare_pairs,
    compare_scores,
)
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.quantization.quality import Quality, pair_quality, score_quality
from edgecritic_bench.quantization.robust import arm_outcomes
from edgecritic_bench.quantization.run import Run
from edgecritic_bench.quantization.worker import ArmFiles
from edgecritic_bench.robustness.outcome import FamilyOutcome
from edgecritic_bench.statistics.models import ModelScores, by_model, model_rank_tau
from edgecritic_bench.tables import LEVELS


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm takes.

    Attributes:
        n_bytes: of its files.
        peak_bytes: greatest resident memory of its process; 0 where it is not known.
        seconds: median of wall clock a judgement.
        cpu: median of processor time a judgement, all threads together.
        image_seconds: median of wall clock for a picture's features; NaN where it computed none.
        load_seconds: of its last start; NaN where it is not known.
    """

    n_bytes: int
    peak_bytes: int
    seconds: float
    cpu: float
    image_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Against:
    """One arm against another.

    Attributes:
        name: of the other.
        pairs: None without any.
        scores: likewise.
        by_category: what changed in each category that has more than a few rows.
        by_source: likewise in each data set.
    """

    name: str
    pairs: PairComparison | None
    scores: ScoreComparison | None
    by_category: Mapping[str, Change]
    by_source: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm.

    Attributes:
        arm: what it is.
        engine: what ran it, and where.
        cost: what it takes.
        pairs: by gold; None without any.
        scores: likewise.
        reference: against the reference; None for itself.
        base: against full precision in the same runtime; None where that is the reference or it.
        robustness: by family; empty without attacks.
        models: score distributions of each response model beside the reference arm's.
        model_tau: Kendall's tau of the ranking of models by the arm and by the reference.
    """

    arm: Arm
    engine: str
    cost: Cost
    pairs: Quality | None
    scores: Quality | None
    reference: Against | None
    base: Against | None
    robustness: Mapping[str, FamilyOutcome]
    models: Mapping[str, ModelScores]
    model_tau: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, arrays as lists; NaN stays NaN.

        Reports are passed on: a bundle is named by its hash, not by where it lies here.
        """
        plain: dict[str, Any] = _plain(asdict(self))
        del plain["arm"]["folder"]
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


@dataclass(frozen=True, slots=True)
class JudgedArm:
    """One arm's judgements of the rows that all arms have judged.

    Attributes:
        arm: what it is.
        settings: how its log-probabilities are read.
        meta: what made them.
        judged: of the sample, by digest.
        manipulated: of manipulated rows, those that all arms have judged that judge such.
        pairs: `judged` in columns.
        scores: likewise.
    """

    arm: Arm
    settings: Settings
    meta: Mapping[str, Any]
    judged: Mapping[str, Judged]
    manipulated: Mapping[str, Judged]
    pairs: PairColumns
    scores: ScoreColumns


def judged_arms(run: Run) -> tuple[JudgedArm, ...]:
    """All arms on the rows that every one of them has judged."""
    journals = run.journals()
    common = set.intersection(*(set(journal) for journal in journals.values()))
    rows = [row for row in run.rows.sample if row_digest(row) in common]
    plain = {row_digest(row) for row in rows}
    attacking = [arm.name for arm in run.arms if run.attacks(arm)]
    attacked = set.intersection(*(set(journals[name]) for name in attacking)) & {
        row_digest(row) for row in run.rows.attacked
    }
    pairs = [row for row in rows if isinstance(row, PairRow)]
    scores = [row for row in rows if isinstance(row, ScoreRow)]
    found = []
    for arm in run.arms:
        meta_path = ArmFiles.of(run.folder, arm).meta
        meta = json.loads(meta_path.read_text(encoding="utf-8")) if meta_path.exists() else {}
        settings = Settings.of(meta)
        journal = journals[arm.name]
        judged = {key: one for key, one in journal.items() if key in plain}
        manipulated = {key: one for key, one in journal.items() if key in attacked}
        found.append(
            JudgedArm(
                arm,
                settings,
                meta,
                judged,
                manipulated if arm.name in attacking else {},
                pair_columns(pairs, judged, settings, run.rows.sources),
                score_columns(scores, judged, settings, run.rows.sources),
            )
        )
    return tuple(found)


def arm_results(
    arms: Sequence[JudgedArm], attacked: Sequence[PairRow | ScoreRow], margin: float
) -> tuple[ArmResult, ...]:
    """Numbers of each arm.

    Args:
        arms: the reference first.
        attacked: rows with manipulations.
        margin: of claims of parity, as a share.
    """
    by_name = {one.arm.name: one for one in arms}
    first = arms[0]
    return tuple(
        ArmResult(
            arm=one.arm,
            engine=f"{one.meta.get('engine', '')} on {one.meta.get('device', '')}",
            cost=_cost(one),
            pairs=pair_quality(one.pairs),
            scores=score_quality(one.scores),
            reference=None if one is first else _against(first, one, margin),
            base=(
                _against(by_name[one.arm.base], one, margin)
                if one.arm.base not in ("", first.arm.name)
                else None
            ),
            robustness=arm_outcomes(attacked, one.manipulated, one.settings),
            models=_models(first.scores, one.scores),
            model_tau=_model_tau(first.scores, one.scores),
        )
        for one in arms
    )


def _against(base: JudgedArm, one: JudgedArm, margin: float) -> Against:
    return Against(
        base.arm.name,
        compare_pairs(base.pairs, one.pairs, margin),
        compare_scores(base.scores, one.scores, margin),
        changes((base.pairs, one.pairs), (base.scores, one.scores), "category"),
        changes((base.pairs, one.pairs), (base.scores, one.scores), "source"),
    )


def _cost(one: JudgedArm) -> Cost:
    judged = list(one.judged.values())
    images = [row.image_seconds for row in judged if row.image_seconds > 0]
    return Cost(
        n_bytes=one.arm.n_bytes,
        peak_bytes=int(one.meta.get("peak_bytes", 0)),
        seconds=_median([row.seconds for row in judged]),
        cpu=_median([row.cpu for row in judged]),
        image_seconds=_median(images),
        load_seconds=float(one.meta.get("load_seconds", float("nan"))),
    )


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _models(reference: ScoreColumns, arm: ScoreColumns) -> dict[str, ModelScores]:
    both = reference.readable & arm.readable
    names = arm.model[both]
    if len(np.unique(names)) < 2:
        return {}
    return by_model(arm.score[both], reference.score[both], names.tolist(), LEVELS, arm.item[both])


def _model_tau(reference: ScoreColumns, arm: ScoreColumns) -> float:
    both = reference.readable & arm.readable
    names = arm.model[both].tolist()
    if len(set(names)) < 2:
        return float("nan")
    items = np.unique(arm.item[both], return_inverse=True)[1].astype(np.int64)
    return model_rank_tau(arm.score[both], reference.score[both], names, items).value
