"""How good one arm is by gold, whatever the others say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecritic_bench.quantization.columns import UNREAD, PairColumns, ScoreColumns
from edgecritic_bench.quantization.comparison import groups
from edgecritic_bench.statistics.bias import length_bias, position_bias
from edgecritic_bench.statistics.categorical import (
    accuracy,
    accuracy_without_ties,
    kappa,
    krippendorff,
)
from edgecritic_bench.statistics.correlation import kendall, pearson, spearman
from edgecritic_bench.statistics.intervals import Estimate, mean, renumbered, share
from edgecritic_bench.statistics.models import model_rank_tau
from edgecritic_bench.statistics.reliability import Reliability, brier, coverage, reliability
from edgecritic_bench.tables import TIE, winners

PRECISIONS = (0.9, 0.95)
"""For coverage: shares of right verdicts that one may want."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One arm's numbers on one setting.

    Attributes:
        metrics: by name.
        reliability: confidence against accuracy.
        by_category: accuracy of pairs, mean absolute error of scores.
        unread: rows without a readable verdict.
        rows: all of them.
    """

    metrics: Mapping[str, Estimate]
    reliability: Reliability
    by_category: Mapping[str, Estimate]
    unread: int
    rows: int


def pair_quality(pairs: PairColumns) -> Quality | None:
    """Agreement with gold, biases and calibration of pairs; None without any."""
    if not len(pairs):
        return None
    read = pairs.readable
    items = renumbered(pairs.item[read])
    probabilities, gold = np.exp(pairs.log_probs[read]), pairs.gold[read]
    confidence, hits = probabilities.max(axis=1), (probabilities.argmax(axis=1) == gold) * 1.0
    given, swapped = (winners(pairs.orders[read][:, order]) for order in (0, 1))
    position = position_bias(given, swapped, items)
    told = np.where(read, pairs.winner, TIE)
    length = length_bias(told, pairs.gold, pairs.lengths.tolist(), pairs.item)
    metrics = {
        "accuracy with ties": accuracy(pairs.winner, pairs.gold, pairs.item),
        "accuracy without ties": accuracy_without_ties(pairs.winner, pairs.gold, pairs.item),
        "kappa": kappa(pairs.winner, pairs.gold, UNREAD + 1, pairs.item),
        "consistency": position.consistency,
        "preference for first": position.preference,
        "longer chosen beyond gold": length.excess,
        "Brier": brier(probabilities, gold, items),
        **{
            f"coverage at {precision:.0%}": coverage(confidence, hits, precision, items)
            for precision in PRECISIONS
        },
    }
    bins = reliability(confidence, hits, items)
    metrics["ECE"] = bins.error
    by_category = {
        name: share(pairs.hits[rows], renumbered(pairs.item[rows]))
        for name, rows in groups(pairs.category).items()
    }
    return Quality(metrics, bins, by_category, int((~read).sum()), len(pairs))


def score_quality(scores: ScoreColumns) -> Quality | None:
    """Agreement with gold and calibration of scores; None where none was read."""
    read = scores.readable
    if not read.any():
        return None
    items, said, gold = renumbered(scores.item[read]), scores.score[read], scores.gold[read]
    hits = (scores.level[read] == np.floor(gold + 0.5)) * 1.0
    bins = reliability(scores.confidence[read], hits, items)
    metrics = {
        "Pearson": pearson(said, gold, items),
        "Spearman": spearman(said, gold, items),
        "Kendall tau-b": kendall(said, gold, items),
        "MAE": mean(np.abs(said - gold), items),
        "exact level": share(hits, items),
        "Krippendorff alpha": krippendorff(np.stack([said, gold]), items, "interval"),
        "ECE": bins.error,
    }
    names = scores.model[read]
    if len(np.unique(names)) > 1:
        metrics["rank tau of models"] = model_rank_tau(said, gold, names.tolist(), items)
    errors = np.abs(scores.score - scores.gold)
    by_category = {
        name: mean(errors[rows & read], renumbered(scores.item[rows & read]))
        for name, rows in groups(scores.category).items()
        if (rows & read).any()
    }
    return Quality(metrics, bins, by_category, int((~read).sum()), len(scores))
