"""How far verdicts on held-out rows agree with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgecritic.verdict import Preference, Verdict
from edgecritic_train.tuning.reading import Judgement

Floats = NDArray[np.float64]


def agreement(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Metrics of an evaluation; those of a setting without rows are left out.

    ``pairwise_accuracy`` counts ties as an outcome of their own, ``pairwise_accuracy_untied`` looks
    at rows with a winner, ``position_consistency`` is the share of pairs that win in both orders
    alike. An unparsed verdict is wrong. ``agreement`` decides which checkpoint is the best: the
    mean of pairwise accuracy and pointwise Pearson correlation, weighted by their rows.

    Args:
        judgements: at least one.
    """
    pairs = [j for j in judgements if isinstance(j.found, Preference)]
    scored = [j for j in judgements if isinstance(j.found, Verdict)]
    metrics: dict[str, float] = {}
    total = 0.0
    if pairs:
        metrics |= _pairwise(pairs)
        total += len(pairs) * metrics["pairwise_accuracy"]
    if scored:
        metrics |= _pointwise(scored)
        total += len(scored) * metrics["pearson"]
    unparsed = sum(j.found.status != "ok" for j in judgements)
    return {
        "agreement": total / len(judgements),
        **metrics,
        "unparsed": unparsed / len(judgements),
    }


def _pairwise(judgements: Sequence[Judgement]) -> dict[str, float]:
    found = [cast(Preference, j.found) for j in judgements]
    right = [p.winner == j.row.verdict for p, j in zip(found, judgements, strict=True)]
    decided = [r for r, j in zip(right, judgements, strict=True) if j.row.verdict != "tie"]
    consistent = [bool(p.consistent) for p in found]
    return {
        "pairwise_accuracy": float(np.mean(right)),
        "pairwise_accuracy_untied": float(np.mean(decided)) if decided else 0.0,
        "position_consistency": float(np.mean(consistent)),
    }


def _pointwise(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Scores are put on 0 to 1, since rows may have rubrics of their own."""
    gold, score, level = [], [], []
    for judgement in judgements:
        verdict, rubric = cast(Verdict, judgement.found), judgement.row.rubric
        middle = (rubric.low + rubric.high) / 2  # unparsed: no information
        span = rubric.high - rubric.low
        gold.append((cast(int, judgement.row.verdict) - rubric.low) / span)
        score.append(((middle if verdict.score is None else verdict.score) - rubric.low) / span)
        level.append(verdict.level == judgement.row.verdict)
    x, y = np.array(gold), np.array(score)
    return {
        "pearson": correlation(x, y),
        "spearman": correlation(ranks(x), ranks(y)),
        "level_accuracy": float(np.mean(level)),
        "score_error": float(np.mean(np.abs(x - y))),
    }


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's r; 0 where one side does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)
