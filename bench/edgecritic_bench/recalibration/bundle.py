"""A bundle is judged with, fitted, and written again with what was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecritic import Bundle, Critic, InputError
from edgecritic.bundle import write_bundle
from edgecritic.manifest import Calibration
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.columns import Settings, pair_columns
from edgecritic_bench.quantization.journal import Judged, append, read_journal, row_digest
from edgecritic_bench.quantization.work import grouped, judge_group
from edgecritic_bench.recalibration.fit import (
    LEAST_ROWS,
    FittedScores,
    LabelledScores,
    fit_pairs,
    fit_scores,
    whole_rubrics,
)
from edgecritic_bench.statistics.intervals import renumbered

JUDGED = "judged.jsonl"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted.

    Attributes:
        calibration: for the bundle.
        scores: what came of scores; None where there were too few.
        pairs: labelled pairs behind temperature and tie margin; 0 where there were too few.
    """

    calibration: Calibration
    scores: FittedScores | None
    pairs: int


def judge_labelled(
    critic: Critic,
    rows: Sequence[PairRow | ScoreRow],
    folder: Path,
    tell: Callable[[int], object],
) -> Mapping[str, Judged]:
    """Judge rows that the folder does not hold yet; what it holds is by this very bundle.

    Args:
        critic: judges.
        rows: labelled.
        folder: of the new bundle.
        tell: is given how many were judged since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{critic.profile.name}.{JUDGED}"
    done = read_journal(path)
    for group in grouped([row for row in rows if row_digest(row) not in done]):
        append(path, judge_group(critic, group))
        tell(len(group))
    return read_journal(path)


def fit(
    rows: Sequence[PairRow | ScoreRow],
    judged: Mapping[str, Judged],
    before: Calibration,
    coverage: float,
) -> Fitted:
    """Fit a calibration on labelled rows.

    Args:
        rows: pairs, scores or both.
        judged: what the critic said of them.
        before: what is kept of a setting with too few rows.
        coverage: of the intervals.

    Raises:
        InputError: too few rows of either setting, or scores on several rubrics.
    """
    pairs = [row for row in rows if isinstance(row, PairRow) and judged[row_digest(row)].readable]
    scores = [row for row in rows if isinstance(row, ScoreRow) and judged[row_digest(row)].readable]
    enough([*pairs, *scores])
    found, fitted = replace(before, scores=None), None
    if len(pairs) >= LEAST_ROWS:
        columns = pair_columns(pairs, judged, Settings())
        temperature, margin = fit_pairs(
            columns.log_probs, columns.gold, columns.item, before.pairwise_temperature
        )
        found = replace(found, pairwise_temperature=temperature, tie_margin=margin)
    if len(scores) >= LEAST_ROWS:
        fitted = fit_scores(labelled(scores, judged), coverage, before=before.pointwise_temperature)
        kept = replace(fitted.calibration, fingerprint=fingerprint(scores))
        fitted = replace(fitted, calibration=kept)
        found = replace(found, pointwise_temperature=fitted.temperature, scores=kept)
    return Fitted(found, fitted, len(pairs) if len(pairs) >= LEAST_ROWS else 0)


def enough(rows: Sequence[PairRow | ScoreRow]) -> None:
    """Refuse rows that are too few to fit on, before they are judged or after.

    Raises:
        InputError: there are fewer than `LEAST_ROWS` of both kinds.
    """
    pairs = sum(isinstance(row, PairRow) for row in rows)
    if max(pairs, len(rows) - pairs) < LEAST_ROWS:
        raise InputError(
            f"{len(rows) - pairs} readable scores and {pairs} readable pairs are too few to fit on",
            f"label at least {LEAST_ROWS} of one kind",
        )


def on_one_rubric(rows: Sequence[PairRow | ScoreRow], others: Sequence[PairRow | ScoreRow]) -> None:
    """Refuse scores on several rubrics before they are judged.

    Args:
        rows: to fit on; scores that are too few for it do not count.
        others: to show before and after.

    Raises:
        InputError: there are several.
    """
    fitted = [row for row in rows if isinstance(row, ScoreRow)]
    shown = [row for row in others if isinstance(row, ScoreRow)]
    scores = [*fitted, *shown] if len(fitted) >= LEAST_ROWS else shown
    if scores:
        whole_rubrics([(row.rubric.low, row.rubric.high) for row in scores])


def labelled(rows: Sequence[ScoreRow], judged: Mapping[str, Judged]) -> LabelledScores:
    """Readable scores as columns.

    Raises:
        InputError: they are on several rubrics.
    """
    low, high = whole_rubrics([(row.rubric.low, row.rubric.high) for row in rows])
    return LabelledScores(
        low=low,
        high=high,
        log_probs=np.array([judged[row_digest(row)].log_probs[0] for row in rows]),
        gold=np.array([row.gold for row in rows], dtype=np.float64),
        item=renumbered(np.array([row.item or row.key for row in rows], dtype=np.str_)),
    )


def fingerprint(rows: Sequence[ScoreRow]) -> str:
    """sha256 over what was judged and what gold says of it, in any order."""
    entries = sorted((row_digest(row), row.gold) for row in rows)
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def write_calibrated(bundle: Bundle, calibration: Calibration, folder: Path) -> Bundle:
    """The bundle with another calibration; its files are copied unless the folder is its own.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    sources = {
        file.path: bundle.verified(file) for file in bundle.manifest.files if not file.external
    }
    return write_bundle(folder, replace(bundle.manifest, calibration=calibration), sources)
