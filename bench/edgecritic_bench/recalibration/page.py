"""Before and after, on rows that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecritic.manifest import Calibration
from edgecritic_bench.markdown import table
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.columns import Settings, pair_columns
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.quantization.quality import pair_quality
from edgecritic_bench.recalibration.bundle import Fitted, labelled
from edgecritic_bench.recalibration.fit import LabelledScores, scored
from edgecritic_bench.report_tables import Style, written
from edgecritic_bench.statistics.correlation import pearson, spearman
from edgecritic_bench.statistics.intervals import Estimate, mean, share

_PAIRS = ("accuracy with ties", "accuracy without ties", "ECE", "Brier")


def before_and_after(
    rows: Sequence[PairRow | ScoreRow],
    judged: Mapping[str, Judged],
    before: Calibration,
    fitted: Fitted,
) -> str:
    """Markdown: what the calibration did to other rows.

    Args:
        rows: labelled, none of which was fitted on.
        judged: what the critic said of them, uncorrected.
        before: the bundle's calibration so far.
        fitted: the new one.
    """
    readable = [row for row in rows if judged[row_digest(row)].readable]
    pairs = [row for row in readable if isinstance(row, PairRow)]
    scores = [row for row in readable if isinstance(row, ScoreRow)]
    lines = []
    if pairs:
        columns = [
            pair_quality(pair_columns(pairs, judged, _settings(calibration)))
            for calibration in (before, fitted.calibration)
        ]
        cells = [
            [name, *(written(c.metrics[name], _style(name)) for c in columns if c is not None)]
            for name in _PAIRS
        ]
        lines += [f"{len(pairs):,} other pairs:", "", table(["", "before", "after"], cells), ""]
    if scores:
        told = labelled(scores, judged)
        found = [_score_metrics(told, c) for c in (before, fitted.calibration)]
        cells = [
            [name, *(written(part[name], _style(name)) if name in part else "-" for part in found)]
            for name in found[1]
        ]
        lines += [f"{len(scores):,} other scores:", "", table(["", "before", "after"], cells), ""]
    return "\n".join(lines).rstrip() + "\n"


def _settings(calibration: Calibration) -> Settings:
    return Settings(
        calibration.pairwise_temperature,
        calibration.pointwise_temperature,
        calibration.tie_margin,
    )


def _style(name: str) -> Style:
    return "share" if name.startswith(("accuracy", "gold in")) else "number"


def _score_metrics(rows: LabelledScores, calibration: Calibration) -> dict[str, Estimate]:
    fitted = calibration.scores
    if fitted is not None and (fitted.low, fitted.high) != (rows.low, rows.high):
        fitted = None
    said, probabilities = scored(rows, calibration.pointwise_temperature, fitted)
    found = {
        "MAE": mean(np.abs(said - rows.gold), rows.item),
        "bias, levels": mean(said - rows.gold, rows.item),
        "Pearson": pearson(said, rows.gold, rows.item),
        "Spearman": spearman(said, rows.gold, rows.item),
    }
    if fitted is not None and fitted.width:
        ends = [fitted.interval(s, p) or (s, s) for s, p in zip(said, probabilities, strict=True)]
        low, high = np.array(ends, dtype=np.float64).T
        inside = ((low - 1e-9 <= rows.gold) & (rows.gold <= high + 1e-9)) * 1.0
        found[f"gold in its {fitted.coverage:.0%} interval"] = share(inside, rows.item)
        found["width of intervals, levels"] = mean(high - low, rows.item)
    return found
