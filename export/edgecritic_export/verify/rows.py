"""The rows that an export is verified on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgecritic import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """A pair to judge on a picture, and a picture on which it should be judged otherwise.

    Attributes:
        picture: the one that is judged.
        other: another picture for the same words.
        question: what was asked.
        responses: two answers.
        reason: text that may follow the verdict, along which logits are compared.
    """

    picture: Path
    other: Path
    question: str
    responses: tuple[str, str]
    reason: str


def read_rows(folder: Path, limit: int | None = None) -> Iterator[Row]:
    """Two rows of each item that has two answers: its pair on the one picture and on the other.

    Args:
        folder: an evaluation set, with ``items.jsonl``.
        limit: rows at most.

    Raises:
        InputError: there is no such set, or a line is no item.
    """
    yield from islice(_rows(folder), limit)


def _rows(folder: Path) -> Iterator[Row]:
    path = folder / "items.jsonl"
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            pictures = [folder / name for name in item["images"]]
            answers = [response["text"] for response in item["responses"]]
            if len(answers) < 2:
                continue
            for side in (0, 1):
                yield Row(
                    pictures[side],
                    pictures[1 - side],
                    item["question"],
                    (answers[0], answers[1]),
                    item["responses"][0]["reasons"][side],
                )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} is no evaluation set: {error!r}", "write one with: edgecritic train items"
        ) from error
