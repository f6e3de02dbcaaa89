"""Evaluation sets on disk: twin items in ``items.jsonl`` with their pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from edgecritic import InputError
from edgecritic_bench.records import WINNERS, Winner

ITEMS = "items.jsonl"


@dataclass(frozen=True, slots=True)
class GradedResponse:
    """One response with its gold on both pictures.

    Attributes:
        text: what was answered.
        scores: gold level on picture A and on B.
        families: how it was made, seen from A and from B.
    """

    text: str
    scores: tuple[int, int]
    families: tuple[str, str]


@dataclass(frozen=True, slots=True)
class GoldPair:
    """Two responses on one picture.

    Attributes:
        side: 0 for picture A, 1 for B.
        first: index of the response called first.
        second: index of the other.
        winner: gold.
        image_decided: the item's other picture turns the preference round.
    """

    side: int
    first: int
    second: int
    winner: Winner
    image_decided: bool


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """Two pictures, one question, graded responses, pairs."""

    name: str
    kind: str
    split: str
    question: str
    images: tuple[Path, Path]
    responses: tuple[GradedResponse, ...]
    pairs: tuple[GoldPair, ...]


def read_items(folder: Path, limit: int | None = None) -> Iterator[EvaluationItem]:
    """The items of an evaluation set, in its order.

    Args:
        folder: holds ``items.jsonl`` and the pictures that it names.
        limit: stop after so many.

    Raises:
        InputError: the file is missing, or a line is no item.
    """
    path = folder / ITEMS
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(islice(lines, limit), 1):
                yield _item(line, folder, f"{path}:{number}")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}",
            "name a folder that an evaluation set was written to",
        ) from error


def _item(line: str, folder: Path, where: str) -> EvaluationItem:
    try:
        data = json.loads(line)
        picture_a, picture_b = data["images"]
        return EvaluationItem(
            name=str(data["id"]),
            kind=str(data["kind"]),
            split=str(data["split"]),
            question=str(data["question"]),
            images=(folder / picture_a, folder / picture_b),
            responses=tuple(_response(entry) for entry in data["responses"]),
            pairs=tuple(_pair(entry, len(data["responses"])) for entry in data["pairs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where} is no evaluation item: {error!r}", "write the evaluation set again"
        ) from error


def _response(entry: dict[str, Any]) -> GradedResponse:
    (on_a, on_b), (family_a, family_b) = entry["scores"], entry["families"]
    return GradedResponse(
        str(entry["text"]), (int(on_a), int(on_b)), (str(family_a), str(family_b))
    )


def _pair(entry: dict[str, Any], n_responses: int) -> GoldPair:
    side, first, second = (int(entry[name]) for name in ("side", "first", "second"))
    if side not in (0, 1) or not (0 <= first < n_responses and 0 <= second < n_responses):
        raise ValueError(f"pair {first}, {second} of side {side} is not in the item")
    if entry["winner"] not in WINNERS:
        raise ValueError(f"winner is {entry['winner']!r}")
    return GoldPair(
        side, first, second, cast(Winner, entry["winner"]), bool(entry["image_decided"])
    )
