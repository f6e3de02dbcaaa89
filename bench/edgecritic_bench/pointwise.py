"""Pointwise agreement with gold, and whether the right picture raises the score."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.records import N_LEVELS
from edgecritic_bench.statistics.categorical import kappa
from edgecritic_bench.statistics.correlation import pearson, spearman
from edgecritic_bench.statistics.intervals import Estimate, mean, share
from edgecritic_bench.statistics.reliability import Reliability, reliability
from edgecritic_bench.tables import Ints, ScoreTable, expected_levels, log_softmax
from edgecritic_bench.twins import clusters_of, twin_rows

IMAGE_GAP = 2
"""Gold levels that a response must differ by between the two pictures for the picture to matter."""


def pointwise_estimates(scores: ScoreTable, temperature: float) -> dict[str, Estimate]:
    """Rank correlation, errors, and whether the right picture raises the score."""
    right, blank = scores.where(~scores.blank), scores.where(scores.blank)
    moved = _image_decided(right)
    level = right.log_probs.argmax(axis=1) + 1
    expected, blind = (expected_levels(t.log_probs, temperature) for t in (right, blank))
    return {
        "spearman": spearman(expected, right.gold.astype(np.float64), right.clusters),
        "pearson": pearson(expected, right.gold.astype(np.float64), right.clusters),
        "level_kappa": kappa(level - 1, right.gold - 1, N_LEVELS, right.clusters, "quadratic"),
        "spearman_moved": spearman(
            expected_levels(moved.log_probs, temperature),
            moved.gold.astype(np.float64),
            moved.clusters,
        ),
        "spearman_blank": spearman(blind, blank.gold.astype(np.float64), blank.clusters),
        "mae": mean(np.abs(expected - right.gold), right.clusters),
        "mae_blank": mean(np.abs(blind - blank.gold), blank.clusters),
        "exact": share((level == right.gold) * 1.0, right.clusters),
        "within_1": share((np.abs(level - right.gold) <= 1) * 1.0, right.clusters),
        "right_beats_wrong": right_beats_wrong(right, temperature),
    }


def _image_decided(scores: ScoreTable) -> ScoreTable:
    """The responses that one picture makes right and the other wrong."""
    on_a, on_b = _moved_rows(scores)
    keep = np.zeros(len(scores), dtype=bool)
    keep[on_a] = keep[on_b] = True
    return scores.where(keep)


def _moved_rows(scores: ScoreTable) -> tuple[Ints, Ints]:
    on_a, on_b = twin_rows(scores)
    moved = np.abs(scores.gold[on_a] - scores.gold[on_b]) >= IMAGE_GAP
    return on_a[moved], on_b[moved]


def right_beats_wrong(scores: ScoreTable, temperature: float) -> Estimate:
    """Share of texts that score higher with the picture that makes them right; ties count half."""
    on_a, on_b = _moved_rows(scores)
    expected = expected_levels(scores.log_probs, temperature)
    gained = np.sign(expected[on_a] - expected[on_b])
    wanted = np.sign(scores.gold[on_a] - scores.gold[on_b])
    return share((gained * wanted + 1) / 2, clusters_of(scores, on_a))


def level_reliability(scores: ScoreTable, temperature: float) -> Reliability:
    """Of the likeliest level, over all responses."""
    log_probs = log_softmax(scores.log_probs, temperature)
    hits = (log_probs.argmax(axis=1) == scores.gold - 1) * 1.0
    return reliability(np.exp(log_probs.max(axis=1, initial=-np.inf)), hits, scores.clusters)
