"""Calibration rows: what a critic really reads, as token ids and image features.

They come from items as the data engine writes them: each has two pictures, a question, and
responses with their right scores. Every row ends with the right verdict, so that the matrices see
answers, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgecritic.backends.base import Backend, Span, TextSpan
from edgecritic.errors import InputError
from edgecritic.judging.layout import Layout
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.task import Task

ITEMS = "items.jsonl"


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """One judgement with its right verdict.

    Attributes:
        name: of the item, with what was made of it.
        spans: the prompt, pictures included, and the answer.
        answer_length: tokens of the answer at the end.
    """

    name: str
    spans: tuple[Span, ...]
    answer_length: int

    def __len__(self) -> int:
        return sum(map(len, self.spans))


def critic_rows(
    folder: Path, backend: Backend, profile: CriticProfile, *, start: int = 0, limit: int
) -> Iterator[CalibrationRow]:
    """Lay out judgements on the items of a set.

    Items take turns in what is asked: a score for a response on either picture, or a comparison of
    two responses, each in the next of the dialect's wordings.

    Args:
        folder: holds ``items.jsonl`` and its pictures.
        backend: tokenizes, and encodes the pictures.
        profile: the critic's prompts and vision.
        start: items to leave out.
        limit: items to use behind them.

    Raises:
        InputError: the set cannot be read, or an item does not fit the critic.
    """
    layout = Layout(backend, profile.dialect)
    pictures = PictureEncoder(backend, profile.vision)
    for number, item in enumerate(_items(folder, start, limit), start):
        side, pairwise = number % 2, number // 2 % 2 == 1
        task, outcome = _pairwise(item, side) if pairwise else _pointwise(item, side)
        laid = layout.lay(task, pictures.spans(folder / item["images"][side]), number)
        answer = laid.answers.tokens[laid.prompt.outcomes.index(outcome)]
        name = f"{item['id']}/{laid.prompt.setting}-{side}"
        yield CalibrationRow(name, (*laid.spans, TextSpan(answer)), len(answer))


def _items(folder: Path, start: int, limit: int) -> Iterator[Mapping[str, Any]]:
    path = folder / ITEMS
    try:
        with path.open(encoding="utf-8") as lines:
            for line in islice(lines, start, start + limit):
                item = json.loads(line)
                if len(item["images"]) != 2 or len(item["responses"]) < 2:
                    raise ValueError(f"{item['id']} has not two pictures and two responses")
                yield item
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no calibration items: {error!r}",
            "write some with: edgecritic train items",
        ) from error


def _pointwise(item: Mapping[str, Any], side: int) -> tuple[Task, int | str]:
    # Items have several responses; their number makes them take turns.
    responses = item["responses"]
    response = responses[len(item["question"]) % len(responses)]
    return Task(item["question"], (response["text"],), 1), int(response["scores"][side])


def _pairwise(item: Mapping[str, Any], side: int) -> tuple[Task, int | str]:
    first, second = item["responses"][:2]
    lead = first["scores"][side] - second["scores"][side]
    outcome = "tie" if lead == 0 else "first" if lead > 0 else "second"
    return Task(item["question"], (first["text"], second["text"]), 1), outcome
