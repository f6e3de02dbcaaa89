"""Agreement on pairs, scores and orders by our own rules, for data without a published scorer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import OrderRow, PairRow, ScoreRow
from edgecritic_bench.protocols.scores import Hit, Protocol, Score, clusters, macro, overall
from edgecritic_bench.records import WINNERS, Winner
from edgecritic_bench.statistics.bias import length_bias, position_bias, repetition
from edgecritic_bench.statistics.categorical import (
    accuracy,
    accuracy_without_ties,
    kappa,
    krippendorff,
)
from edgecritic_bench.statistics.correlation import kendall, pearson, spearman
from edgecritic_bench.statistics.intervals import Estimate, mean, renumbered, share
from edgecritic_bench.statistics.models import by_model, model_rank_tau
from edgecritic_bench.statistics.ordering import normalised_levenshtein
from edgecritic_bench.tables import TIE, Ints

_REPEATED = 2
"""Verdicts of one row in one order that make repetition a number."""
_UNREAD = len(WINNERS)
"""Stands for an unread verdict: an outcome that is never gold, so it is wrong."""

Judged = Sequence[tuple[PairRow, list[Reply]]]


def reconciled(replies: Sequence[Reply]) -> Winner | None:
    """One verdict of a pair: the reconciled one, or what both orders agree on.

    Orders that disagree make a tie; one order alone is taken as it is. None where nothing is read.
    """
    for reply in replies:
        if reply.shown == "both":
            return reply.winner
    stated = [reply.winner for reply in replies if reply.rewards is None]
    if not stated or None in stated:
        return None
    return stated[0] if len(set(stated)) == 1 else "tie"


def given_only(replies: Sequence[Reply]) -> Winner | None:
    """The verdict in the data set's own order; None where that order was not judged or read."""
    return next((reply.winner for reply in replies if reply.shown == "given"), None)


def pair_score(judged: Judged, protocol: Protocol, rules: str, headline: str) -> Score:
    """Accuracy with and without ties, kappa, and the biases that two orders and lengths show.

    Args:
        judged: rows with their replies.
        protocol: ``both-orders`` reconciles; others look at the given order alone.
        rules: printed beside the numbers.
        headline: one of the metrics.
    """
    read = reconciled if protocol == "both-orders" else given_only
    said = [read(replies) for _, replies in judged]
    rows = [row for row, _ in judged]
    predicted, gold = _codes(said), _codes([row.gold for row in rows])
    items = clusters(rows)
    lengths = [(len(row.responses[0]), len(row.responses[1])) for row in rows]
    readable = predicted != _UNREAD
    lengthwise = length_bias(np.where(readable, predicted, TIE), gold, lengths, items)
    metrics = {
        "accuracy with ties": accuracy(predicted, gold, items),
        "accuracy without ties": accuracy_without_ties(predicted, gold, items),
        "accuracy without ties, predicted ties dropped": accuracy_without_ties(
            predicted, gold, items, "dropped"
        ),
        "kappa": kappa(predicted, gold, _UNREAD + 1, items),
        "longer chosen": lengthwise.chosen,
        "longer chosen beyond gold": lengthwise.excess,
        **_position(judged),
        **_repetition(judged),
    }
    hits = tuple(
        Hit(row.key, row.item, float(p == g))
        for row, p, g in zip(rows, predicted, gold, strict=True)
        if g != TIE or headline == "accuracy with ties"
    )
    return Score(protocol, rules, headline, metrics, len(rows), int((~readable).sum()), hits)


def _codes(winners: Sequence[Winner | None]) -> Ints:
    return np.array(
        [_UNREAD if winner is None else WINNERS.index(winner) for winner in winners], dtype=np.int64
    )


def _position(judged: Judged) -> dict[str, Estimate]:
    """Consistency and preference, where both orders were judged and read."""
    rows: list[PairRow] = []
    winners: list[tuple[Winner, Winner]] = []
    for row, replies in judged:
        orders = {reply.shown: reply.winner for reply in replies}
        given, swapped = orders.get("given"), orders.get("swapped")
        if given is not None and swapped is not None:
            rows.append(row)
            winners.append((given, swapped))
    if not rows:
        return {}
    columns = [_codes([pair[side] for pair in winners]) for side in (0, 1)]
    found = position_bias(columns[0], columns[1], clusters(rows))
    return {"consistency": found.consistency, "preference for first": found.preference}


def _repetition(judged: Judged) -> dict[str, Estimate]:
    """How often repeated verdicts in the given order agree, where there are any."""
    said = [[reply.winner for reply in replies if reply.shown == "given"] for _, replies in judged]
    rows = [(row, verdicts) for (row, _), verdicts in zip(judged, said, strict=True) if verdicts]
    repeats = min((len(verdicts) for _, verdicts in rows), default=0)
    if repeats < _REPEATED:
        return {}
    codes = [
        [-1 if winner is None else WINNERS.index(winner) for winner in verdicts[:repeats]]
        for _, verdicts in rows
    ]
    return {"repetition": repetition(np.array(codes).T, clusters(row for row, _ in rows))}


def score_score(
    judged: Sequence[tuple[ScoreRow, list[Reply]]], protocol: Protocol, rules: str
) -> Score:
    """Correlations, errors, kappa and alpha of scores, and the ranking of models.

    Unread scores are left out, and counted.
    """
    known = [(row, replies[0].level) for row, replies in judged if replies[0].level is not None]
    rows = [row for row, _ in known]
    said = np.array([level for _, level in known], dtype=np.float64)
    gold = np.array([row.gold for row in rows], dtype=np.float64)
    items = clusters(rows) if rows else np.zeros(0, dtype=np.int64)
    metrics = {
        "Pearson": pearson(said, gold, items),
        "Spearman": spearman(said, gold, items),
        "Kendall tau-b": kendall(said, gold, items),
        "MAE": mean(np.abs(said - gold), items),
        "exact": share((_rounded(said) == _rounded(gold)) * 1.0, items),
        "within 1": share((np.abs(_rounded(said) - _rounded(gold)) <= 1) * 1.0, items),
        "quadratic kappa": _level_kappa(rows, _rounded(said), _rounded(gold), items),
        "Krippendorff alpha": krippendorff(np.stack([said, gold]), items, "interval"),
    }
    models = [row.models[0] if row.models else "" for row in rows]
    if len(set(models)) > 1:
        metrics["rank tau of models"] = model_rank_tau(said, gold, models, items)
        metrics |= _two_levels(said, gold, models, items)
    categories = [row.category for row in rows]
    if len(set(categories)) > 1:
        metrics |= _by_category(said, gold, categories, items)
    hits = tuple(Hit(row.key, row.item, -abs(level - row.gold)) for row, level in known)
    return Score(protocol, rules, "Pearson", metrics, len(judged), len(judged) - len(rows), hits)


def _rounded(values: np.ndarray) -> Ints:
    # Halves up: rounding to even would send 2.5 and 3.5 to different distances.
    return np.asarray(np.floor(values + 0.5), dtype=np.int64)


def _level_kappa(rows: Sequence[ScoreRow], said: Ints, gold: Ints, items: Ints) -> Estimate:
    low = min((row.rubric.low for row in rows), default=0)
    high = max((row.rubric.high for row in rows), default=1)
    levels = [np.clip(column, low, high) - low for column in (said, gold)]
    return kappa(levels[0], levels[1], high - low + 1, items, "quadratic")


def _two_levels(
    said: np.ndarray, gold: np.ndarray, models: Sequence[str], items: Ints
) -> dict[str, Estimate]:
    """Each model's mean score beside gold's, and how far its distribution is from gold's."""
    levels = np.unique(np.concatenate([gold, _rounded(said)]))
    found = {}
    for name, model in by_model(said, gold, models, levels, items).items():
        found[f"mean score, {name}"] = model.critic
        found[f"mean gold, {name}"] = model.reference
        nan, n = float("nan"), model.critic.n
        found[f"distance of distributions, {name}"] = Estimate(
            model.distance, nan, nan, n, model.critic.n_items
        )
    return found


def _by_category(
    said: np.ndarray, gold: np.ndarray, categories: Sequence[str], items: Ints
) -> dict[str, Estimate]:
    names = np.array(categories)
    found = {}
    for name in sorted(set(categories)):
        rows = names == name
        found[f"Pearson, {name}"] = pearson(said[rows], gold[rows], renumbered(items[rows]))
    values = [estimate.value for estimate in found.values() if estimate.n]
    average = float(np.mean(values)) if values else float("nan")
    # Correlations have no row values to resample together: the mean of them stands alone.
    nan = float("nan")
    found["Pearson, mean over categories"] = Estimate(
        average, nan, nan, len(said), len(np.unique(items))
    )
    return found


def order_score(
    judged: Sequence[tuple[OrderRow, list[Reply]]], protocol: Protocol, rules: str
) -> Score:
    """Normalised edit distance of orders to gold, the share that is equal, and the best one found.

    An unread order is as far away as can be: 1.
    """
    hits, exact, best, unread = [], [], [], 0
    for row, replies in judged:
        order = replies[0].order
        unread += order is None
        distance = 1.0 if order is None else normalised_levenshtein(order, row.gold)
        hits.append(Hit(row.key, row.item, distance))
        exact.append(Hit(row.key, row.item, float(distance == 0)))
        best.append(Hit(row.key, row.item, float((order or ())[:1] == row.gold[:1])))
    values = np.array([hit.value for hit in hits])
    metrics = {
        "normalised Levenshtein": mean(values, clusters(hits)),
        "exact": overall(exact),
        "best found": overall(best),
    }
    categories = [row.category for row, _ in judged]
    if len(set(categories)) > 1:
        metrics["normalised Levenshtein, mean over categories"] = macro(hits, categories)
    return Score(
        protocol, rules, "normalised Levenshtein", metrics, len(judged), unread, tuple(hits)
    )
