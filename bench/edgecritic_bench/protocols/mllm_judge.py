"""MLLM-as-a-Judge: scores, pairs and batches with people's verdicts, from 14 data sets.

Source: arXiv:2402.04788; no scorer is published. The metrics are the article's: Pearson's
correlation for scores, accuracy with and without ties for pairs, normalised Levenshtein distance
for batches. What it leaves open is chosen here and printed: a judge's tie on a pair that people
decided is wrong, and beside it stands the accuracy with such pairs left out; correlations are
given over all rows and as the mean over the data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgecritic import InputError, Rubric
from edgecritic_bench.protocols.files import Object, keyed_rows, picture, text
from edgecritic_bench.protocols.pairs import order_score, pair_score, score_score
from edgecritic_bench.protocols.replies import Reply, finite, permutation
from edgecritic_bench.protocols.rows import AnyRow, OrderRow, PairRow, ScoreRow
from edgecritic_bench.protocols.scores import Protocol, Score, by_row, refuse_protocol
from edgecritic_bench.records import Winner

NAME = "mllm-as-a-judge"
KNOWN: tuple[Protocol, ...] = ("official", "both-orders")
RUBRIC = Rubric(1, 5)
Loaded = TypeVar("Loaded", ScoreRow, PairRow, OrderRow)
_PLACES = ("", "image", "..", "../image", "../..")
_WINNERS: dict[str, Winner] = {"A": "first", "B": "second", "C": "tie"}


def load_scores(path: Path) -> tuple[ScoreRow, ...]:
    """Rows of ``score.jsonl``, or of the lite selection.

    Raises:
        InputError: the file is missing or another.
    """
    return _load(path, "score", _score_row)


def load_pairs(path: Path) -> tuple[PairRow, ...]:
    """Rows of ``pair.jsonl``, or of the lite selection.

    Raises:
        InputError: the file is missing or another.
    """
    return _load(path, "pair", _pair_row)


def load_batches(path: Path) -> tuple[OrderRow, ...]:
    """Rows of ``batch.jsonl``.

    Raises:
        InputError: the file is missing or another.
    """
    return _load(path, "batch", _order_row)


def _load(
    path: Path, mode: str, build: Callable[[str, Object, Path], Loaded]
) -> tuple[Loaded, ...]:
    folders = ("", "Benchmark/", "Dataset/Benchmark/", "Dataset/Benchmark_Lite/")
    names = [f"{folder}{mode}{end}.jsonl" for folder in folders for end in ("", "_lite")]
    return keyed_rows(path, names, partial(_name, mode), build)


def _name(mode: str, row: Object) -> str:
    number = row.get(f"{mode}_id", row["id"])
    return f"{mode}-{number}"


def _score_row(key: str, row: Object, folder: Path) -> ScoreRow:
    return ScoreRow(
        key=key,
        question=text(row, "instruction"),
        images=(picture(row["image_path"], folder, _PLACES),),
        category=text(row, "original_dataset"),
        models=(str(row["name"]),),
        item=str(row["image_path"]),
        response=text(row, "answer"),
        # Some of the people's scores are written as text.
        gold=finite(row["human"]),
        rubric=RUBRIC,
    )


def _pair_row(key: str, row: Object, folder: Path) -> PairRow:
    if row["human_answer"] not in _WINNERS:
        raise ValueError(f"human_answer is {row['human_answer']!r}, not A, B or C")
    answers = row["answer1"], row["answer2"]
    return PairRow(
        key=key,
        question=text(row, "instruction"),
        images=(picture(row["image_path"], folder, _PLACES),),
        category=text(row, "original_dataset"),
        models=(str(answers[0]["name"]), str(answers[1]["name"])),
        item=str(row["image_path"]),
        responses=(text(answers[0], "answer"), text(answers[1], "answer")),
        gold=_WINNERS[row["human_answer"]],
    )


def _order_row(key: str, row: Object, folder: Path) -> OrderRow:
    answers = row["answers"]
    gold = letters_to_order(text(row, "human_answer"))
    if len(gold) != len(answers):
        raise ValueError(f"human_answer {row['human_answer']!r} ranks not {len(answers)} answers")
    return OrderRow(
        key=key,
        question=text(row, "instruction"),
        images=(picture(row["image_path"], folder, _PLACES),),
        category=text(row, "original_dataset"),
        models=tuple(str(answer["name"]) for answer in answers),
        item=str(row["image_path"]),
        responses=tuple(text(answer, "answer") for answer in answers),
        gold=gold,
    )


def letters_to_order(letters: str) -> tuple[int, ...]:
    """``CDAB`` as indices, the best first.

    Raises:
        ValueError: not each letter from A on once.
    """
    return permutation([ord(letter) - ord("A") for letter in letters.strip()])


def score(
    rows: Sequence[AnyRow],
    replies: Sequence[Reply],
    protocol: Protocol = "official",
    *,
    partial: bool = False,
) -> Score:
    """Score one judge on rows of one mode.

    Args:
        rows: of one of the loaders.
        replies: of the judge.
        protocol: ``official`` takes the given order of pairs, ``both-orders`` reconciles.
        partial: leave out rows without a reply.

    Raises:
        InputError: no such protocol, rows without a reply, or rows of several modes.
    """
    if protocol not in KNOWN:
        raise refuse_protocol(NAME, protocol, KNOWN)
    unread = "no scorer is published; unread rows are"
    pairs = [row for row in rows if isinstance(row, PairRow)]
    scores = [row for row in rows if isinstance(row, ScoreRow)]
    orders = [row for row in rows if isinstance(row, OrderRow)]
    if pairs and not scores and not orders:
        order = "both orders reconciled" if protocol == "both-orders" else "given order"
        rules = f"{order}; {unread} wrong, as is a tie where people decided"
        return pair_score(by_row(pairs, replies, partial), protocol, rules, "accuracy with ties")
    if scores and not pairs and not orders:
        return score_score(by_row(scores, replies, partial), protocol, f"{unread} left out")
    if orders and not pairs and not scores:
        return order_score(by_row(orders, replies, partial), protocol, f"{unread} at distance 1")
    raise InputError("these are rows of no mode, or of several", "score one mode at a time")
