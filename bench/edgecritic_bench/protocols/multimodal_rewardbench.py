"""Multimodal RewardBench: about 5,000 pairs in six areas.

Source: arXiv:2502.14191; ``2_get_accuracy.py`` of the authors, ``multimodal_rewardbench/utils.py``
of lmms-eval, as of 2026-08. Both toss a coin for an unread verdict; the authors seed it once for
the whole file, lmms-eval anew for every row, so that there the coin always says A.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from edgecritic_bench.protocols.files import Object, keyed_rows, picture, text
from edgecritic_bench.protocols.pairs import pair_score
from edgecritic_bench.protocols.reading import bracketed_letter
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import PairRow
from edgecritic_bench.protocols.scores import (
    Hit,
    Protocol,
    Score,
    by_row,
    macro,
    overall,
    refuse_protocol,
    shares,
)

NAME = "multimodal-rewardbench"
KNOWN: tuple[Protocol, ...] = ("official", "lmms-eval", "both-orders")
_SEED = 123
_FILES = ("data/all_data.json", "all_data.json", "data/*.parquet", "*.parquet", "*.jsonl", "*.json")


def load(path: Path) -> tuple[PairRow, ...]:
    """Rows of the authors' ``all_data.json``, or of the same as Parquet or JSON Lines.

    Raises:
        InputError: the file is missing or another.
    """
    return keyed_rows(path, _FILES, _name, _row)


def _name(row: Object) -> str:
    return text(row, "ID")


def _row(key: str, row: Object, folder: Path) -> PairRow:
    if row["Better"] not in ("Output1", "Output2"):
        raise ValueError(f"Better is {row['Better']!r}, neither Output1 nor Output2")
    return PairRow(
        key=key,
        question=text(row, "Text"),
        images=(picture(row["Image"], folder, ("", "..", "images")),),
        category=_area(text(row, "ID"), text(row, "Category")),
        item=str(row["Image"]) if isinstance(row["Image"], str) else key,
        responses=(text(row, "Output1"), text(row, "Output2")),
        gold="first" if row["Better"] == "Output1" else "second",
    )


def _area(name: str, category: str) -> str:
    """The area, two of which the scorers part by the beginning of the row's ID."""
    if category == "safety":
        return "safety/bias" if name.lower().startswith("pairs") else "safety/toxicity"
    if category == "reasoning":
        return "reasoning/math" if name.lower().startswith("math") else "reasoning/coding"
    return category


def score(
    rows: Sequence[PairRow],
    replies: Sequence[Reply],
    protocol: Protocol = "official",
    *,
    partial: bool = False,
) -> Score:
    """Score one judge.

    Args:
        rows: of `load`.
        replies: of the judge, to the given order; the coin is tossed in their order.
        protocol: whose rules.
        partial: leave out rows without a reply.

    Raises:
        InputError: no such protocol, or rows without a reply.
    """
    if protocol not in KNOWN:
        raise refuse_protocol(NAME, protocol, KNOWN)
    if protocol == "both-orders":
        rules = "both orders reconciled; a tie or an unread verdict is wrong"
        return pair_score(by_row(rows, replies, partial), protocol, rules, "accuracy without ties")
    given = [reply for reply in replies if reply.shown == "given"]
    answered = {row.key: row for row, _ in by_row(rows, given, partial)}
    rng = random.Random(_SEED)
    hits, areas, unread = [], [], 0
    for reply in given:
        row = answered[reply.key]
        letter = _letter(reply)
        if letter is None:
            unread += 1
            if protocol == "lmms-eval":
                rng = random.Random(_SEED)
            letter = "A" if rng.random() < 0.5 else "B"
        hits.append(Hit(row.key, row.item, float((letter == "A") == (row.gold == "first"))))
        areas.append(row.category)
    seeded = "for each row, so it says A" if protocol == "lmms-eval" else "once for the file"
    rules = f"given order; a coin, seeded {seeded}, decides {unread} unread rows"
    metrics = {
        "overall": overall(hits),
        "mean of areas": macro(hits, areas),
        **shares(hits, areas),
    }
    return Score(protocol, rules, "overall", metrics, len(hits), unread, tuple(hits))


def _letter(reply: Reply) -> str | None:
    if reply.text is not None:
        return bracketed_letter(reply.text)
    return {"first": "A", "second": "B"}.get(reply.winner or "")
