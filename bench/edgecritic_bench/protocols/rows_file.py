"""Rows files: the form in which critic data lies on disk, and in which to bring one's own.

JSON Lines, one judgement a line, as ``edgecritic train data`` writes them, LLaVA-Critic-113k among
them; only `id`, `setting`, `question`, `responses` and `verdict` must be there::

    {"id": "mine-1", "setting": "pairwise", "images": ["cat.png"], "question": "What is it?",
     "responses": ["A cat.", "A dog."], "verdict": "first"}
    {"id": "mine-2", "setting": "pointwise", "question": "...", "responses": ["..."],
     "rubric": {"low": 1, "high": 5}, "verdict": 3.5, "models": ["llava"]}
    {"id": "mine-3", "setting": "listwise", "question": "...", "responses": ["...", "...", "..."],
     "verdict": [2, 0, 1], "group": "photo-17", "category": "charts"}

`verdict` is ``first``, ``second`` or ``tie``, a number within the rubric, or indices, the best
first. `group` names what is resampled together, such as a picture. `split` picks held-out rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from edgecritic import InputError, Rubric
from edgecritic_bench.protocols.files import Object, keyed_rows, picture, text
from edgecritic_bench.protocols.pairs import order_score, pair_score, score_score
from edgecritic_bench.protocols.replies import Reply, finite, permutation
from edgecritic_bench.protocols.rows import AnyRow, OrderRow, PairRow, ScoreRow
from edgecritic_bench.protocols.scores import Protocol, Score, by_row, refuse_protocol
from edgecritic_bench.records import WINNERS, Winner

NAME = "rows"
CRITIC_113K = "critic-113k"
KNOWN: tuple[Protocol, ...] = ("both-orders",)
HELD_OUT = ("validation", "test")
_FILES = ("*.jsonl",)


def load(path: Path, splits: Sequence[str] = ()) -> tuple[AnyRow, ...]:
    """Rows of a file, or of all files of a folder.

    Args:
        path: a rows file or a folder with some.
        splits: only rows of these; all when left out.

    Raises:
        InputError: the file is missing, a line is no row, or no row is of these splits.
    """

    def kept(row: Object) -> bool:
        return not splits or row.get("split") in splits

    rows = keyed_rows(path, _FILES, _name, _row, kept)
    if not rows:
        raise InputError(
            f"{path} holds no rows of {' or '.join(splits) or 'any split'}",
            "hold some out when the data is written, or name another file",
        )
    return rows


def _name(row: Object) -> str:
    return text(row, "id")


def load_held_out(path: Path) -> tuple[AnyRow, ...]:
    """The held-out rows of LLaVA-Critic-113k, as its import into rows files split them."""
    return load(path, HELD_OUT)


def _row(key: str, row: Object, folder: Path) -> AnyRow:
    setting, verdict = row["setting"], row["verdict"]
    responses = tuple(str(response) for response in row["responses"])
    rubric = Rubric.from_dict(row["rubric"]) if row.get("rubric") else Rubric()
    common: dict[str, Any] = {
        "key": key,
        "question": text(row, "question"),
        "images": tuple(picture(image, folder) for image in row.get("images") or ()),
        "category": str(row.get("category") or row.get("source") or ""),
        "models": tuple(str(name) for name in row.get("models") or ()),
        "item": str(row.get("group") or key),
    }
    if setting == "pointwise":
        (response,) = responses
        gold = finite(verdict)
        if not rubric.low <= gold <= rubric.high:
            raise ValueError(f"verdict is {gold:g}, outside {rubric.low}-{rubric.high}")
        reference = row.get("reference")
        return ScoreRow(**common, response=response, gold=gold, rubric=rubric, reference=reference)
    if setting == "listwise":
        gold_order = permutation(verdict)
        if len(gold_order) != len(responses):
            raise ValueError(f"verdict ranks {len(gold_order)} of {len(responses)} responses")
        return OrderRow(**common, responses=responses, gold=gold_order)
    if setting != "pairwise":
        raise ValueError(f"setting is {setting!r}, not pointwise, pairwise or listwise")
    first, second = responses
    if verdict not in WINNERS:
        raise ValueError(f"verdict is {verdict!r}, not one of {', '.join(WINNERS)}")
    winner = cast(Winner, verdict)
    return PairRow(**common, responses=(first, second), gold=winner, rubric=rubric)


def score(
    rows: Sequence[AnyRow],
    replies: Sequence[Reply],
    protocol: Protocol = "both-orders",
    *,
    partial: bool = False,
) -> Score:
    """Score one judge on rows of all settings; metrics are named after theirs if there are several.

    Args:
        rows: of a loader.
        replies: of the judge.
        protocol: ``both-orders`` is the only one.
        partial: leave out rows without a reply.

    Raises:
        InputError: no such protocol, or rows without a reply.
    """
    if protocol not in KNOWN:
        raise refuse_protocol(NAME, protocol, KNOWN)
    judged = by_row(rows, replies, partial)
    rules = "both orders reconciled; unread pairs are wrong, scores left out, orders at distance 1"
    pairs = [(row, given) for row, given in judged if isinstance(row, PairRow)]
    scores = [(row, given) for row, given in judged if isinstance(row, ScoreRow)]
    orders = [(row, given) for row, given in judged if isinstance(row, OrderRow)]
    parts: dict[str, Score] = {}
    if pairs:
        parts["pairwise"] = pair_score(pairs, protocol, rules, "accuracy without ties")
    if scores:
        parts["pointwise"] = score_score(scores, protocol, rules)
    if orders:
        parts["listwise"] = order_score(orders, protocol, rules)
    return merged(parts, rules)


def merged(parts: dict[str, Score], rules: str) -> Score:
    """One score of several settings; its headline and hits are those of the first."""
    first_name, first = next(iter(parts.items()))
    if len(parts) == 1:
        return first
    return Score(
        protocol=first.protocol,
        rules=rules,
        headline=f"{first_name}: {first.headline}",
        metrics={
            f"{name}: {metric}": estimate
            for name, part in parts.items()
            for metric, estimate in part.metrics.items()
        },
        rows=sum(part.rows for part in parts.values()),
        unread=sum(part.unread for part in parts.values()),
        hits=first.hits,
    )
