"""Shortcuts that a critic could learn instead of looking: places, lengths, the usual level."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecritic_train.critic_data.rows import SWAPPED
from edgecritic_train.critic_data.validation.facts import RowFacts
from edgecritic_train.critic_data.validation.findings import Findings, Kind

PLACE = Kind(
    "place-wins",
    "warning",
    "one place wins more often than chance allows",
    "show pairs in both orders, or draw the order",
)
LENGTH = Kind(
    "length-wins",
    "warning",
    "the longer response wins far more often than the shorter one",
    "balance the pairs, or see that the critic is tested against length",
)
ONE_LEVEL = Kind(
    "one-level",
    "warning",
    "most scores of a source are the same level",
    "a critic that always says it would be right most of the time: add others",
)
NO_TIES = Kind("no-ties", "note", "no pair is a tie", "a critic will hardly learn to say tie")
CONTRADICTORY = Kind(
    "orders-contradict",
    "warning",
    "the same pair has another winner when its responses are exchanged",
    "leave such pairs out",
)
_MANY = 50
"""Rows below which nothing is said of shares."""
_Z = 4.0
_LENGTH_SHARE = 0.65
_LEVEL_SHARE = 0.6


def balance(rows: Sequence[RowFacts], findings: Findings) -> dict[str, Any]:
    """Count winners, places, lengths and levels of the training rows.

    Returns:
        A JSON-ready summary.
    """
    training = [row for row in rows if row.split == "train"]
    pairs = [row for row in training if row.setting == "pairwise"]
    scores = [row for row in training if row.setting == "pointwise"]
    winners = Counter(str(row.verdict) for row in pairs)
    _check_places(winners, findings)
    longer = _longer_wins(pairs)
    if longer["pairs"] >= _MANY and longer["share"] > _LENGTH_SHARE:
        findings.add(LENGTH, f"{longer['share']:.0%} of {longer['pairs']:,} pairs")
    _check_levels(scores, findings)
    return {
        "winners": dict(sorted(winners.items())),
        "longer_wins": longer,
        "pairs_in_both_orders": _both_orders(rows, findings),
        "score_length_rank_correlation": _length_correlation(scores),
    }


def _check_places(winners: Counter[str], findings: Findings) -> None:
    first, second = winners["first"], winners["second"]
    decided = first + second
    if decided >= _MANY and abs(first - second) / math.sqrt(decided) > _Z:
        findings.add(PLACE, f"first {first:,}, second {second:,}")
    if decided >= _MANY and not winners["tie"]:
        findings.add(NO_TIES, f"{decided:,} pairs")


def _longer_wins(pairs: Sequence[RowFacts]) -> dict[str, Any]:
    decided = [
        (row.lengths[0] > row.lengths[1]) == (row.verdict == "first")
        for row in pairs
        if row.verdict != "tie" and row.lengths[0] != row.lengths[1]
    ]
    share = sum(decided) / len(decided) if decided else None
    return {"pairs": len(decided), "share": share}


def _check_levels(scores: Sequence[RowFacts], findings: Findings) -> None:
    by_scale: dict[tuple[str, tuple[int, int]], Counter[int]] = defaultdict(Counter)
    for row in scores:
        by_scale[row.source, row.scale][int(row.verdict)] += 1
    for (source, (low, high)), levels in sorted(by_scale.items()):
        level, count = levels.most_common(1)[0]
        total = levels.total()
        if total >= _MANY and high - low > 1 and count / total > _LEVEL_SHARE:
            where = f"{source or '(no source)'}, {low}-{high}: {level} is {count / total:.0%}"
            findings.add(ONE_LEVEL, f"{where} of {total:,}")


def _both_orders(rows: Sequence[RowFacts], findings: Findings) -> int:
    known: dict[tuple[bytes, tuple[str, ...]], RowFacts] = {}
    both = 0
    for row in rows:
        if row.setting != "pairwise":
            continue
        other = known.get((row.swapped, row.images))
        if other is not None and row.swapped != row.asked:
            both += 1
            if SWAPPED[other.verdict] != row.verdict:  # type: ignore[index]  # they are pairwise
                findings.add(CONTRADICTORY, f"{other.place} and {row.place}")
        known.setdefault((row.asked, row.images), row)
    return both


def _length_correlation(scores: Sequence[RowFacts]) -> float | None:
    """Spearman's rank correlation of a response's length with its place on the scale."""
    if len(scores) < _MANY:
        return None
    places = [(int(r.verdict) - r.scale[0]) / (r.scale[1] - r.scale[0]) for r in scores]
    lengths = _ranks(np.array([row.lengths[0] for row in scores], np.float64))
    levels = _ranks(np.array(places, np.float64))
    if not lengths.std() or not levels.std():
        return None
    return round(float(np.corrcoef(lengths, levels)[0, 1]), 4)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], np.float64)
