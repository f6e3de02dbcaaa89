"""What a judge said of a row: the one form that our critics and everybody else's verdicts take.

A file of replies is JSON Lines. `key` names the row; everything else may be left out, but for one
statement of the verdict::

    {"key": "RLAIF-V-3", "shown": "swapped", "text": "... Overall Judgment: Answer 1 is better."}
    {"key": "RLAIF-V-3", "shown": "both", "winner": "first", "probabilities": [0.8, 0.1, 0.1]}
    {"key": "score-17", "level": 3.6}
    {"key": "batch-200", "order": [2, 3, 0, 1]}
    {"key": "mcq-1", "rewards": [0.7, -0.2]}

`winner`, `order`, `rewards` and `probabilities` speak of the responses as the data set orders them,
whatever was shown first; `text` is the judge's own and speaks of what it was shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from edgecritic import InputError
from edgecritic_bench.protocols.files import made, read_objects
from edgecritic_bench.records import WINNERS, Winner

Shown: TypeAlias = Literal["given", "swapped", "both"]
SHOWN: tuple[Shown, ...] = get_args(Shown)
_HINT = "write replies with: edgecritic bench run, or edgecritic bench import"


@dataclass(frozen=True, slots=True)
class Reply:
    """One judgement of one row.

    Attributes:
        key: of the row.
        shown: in which order the two responses of a pair were shown; ``both`` is a verdict
            reconciled from both orders.
        text: what the judge wrote.
        extracted: what a language model made of the text, for protocols that ask one.
        winner: of a pair, or None where none could be read.
        level: score of a single response.
        order: of several responses, the best first.
        rewards: one number a response; greater is better.
        probabilities: of first, second, tie.
    """

    key: str
    shown: Shown = "given"
    text: str | None = None
    extracted: str | None = None
    winner: Winner | None = None
    level: float | None = None
    order: tuple[int, ...] | None = None
    rewards: tuple[float, ...] | None = None
    probabilities: tuple[float, ...] | None = None

    def to_line(self) -> str:
        """One line of JSON, without the line's end; what is left out is not written."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {name: value for name, value in values.items() if value is not None}
        return json.dumps(kept, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reply:
        """The inverse of `to_line`.

        Raises:
            ValueError: a key is unknown, or a value out of range.
        """
        if unknown := data.keys() - {f.name for f in fields(cls)}:
            raise ValueError(f"the key {min(unknown)!r} is unknown")
        if data.get("shown", "given") not in SHOWN:
            raise ValueError(f"shown is {data['shown']!r}, not one of {', '.join(SHOWN)}")
        if data.get("winner") not in (None, *WINNERS):
            raise ValueError(f"winner is {data['winner']!r}, not one of {', '.join(WINNERS)}")
        order = data.get("order")
        return cls(
            key=str(data["key"]),
            shown=data.get("shown", "given"),
            text=_optional_text(data, "text"),
            extracted=_optional_text(data, "extracted"),
            winner=data.get("winner"),
            level=None if data.get("level") is None else finite(data["level"]),
            order=None if order is None else permutation(order),
            rewards=_numbers(data, "rewards"),
            probabilities=_numbers(data, "probabilities"),
        )


def finite(value: object) -> float:
    """A number that is one.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def permutation(order: Sequence[Any]) -> tuple[int, ...]:
    """An order of responses: each index once.

    Raises:
        ValueError: it is no such order.
    """
    found = tuple(order)
    if sorted(found, key=str) != sorted(range(len(found)), key=str):
        raise ValueError(f"order is {list(found)}, not each of 0 to {len(found) - 1} once")
    return found


def read_replies(path: Path) -> tuple[Reply, ...]:
    """All replies of a file.

    Raises:
        InputError: it cannot be read, or a line is no reply.
    """
    found = []
    for where, data in read_objects(path):
        try:
            found.append(made(where, Reply.from_dict, data))
        except InputError as error:
            raise InputError(error.message, _HINT) from None
    return tuple(found)


def write_replies(path: Path, replies: Iterable[Reply]) -> int:
    """Write a file of replies, replacing what was there; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for reply in replies:
            out.write(reply.to_line() + "\n")
            count += 1
    return count


def _optional_text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, not text")
    return value


def _numbers(data: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    values = data.get(key)
    return None if values is None else tuple(finite(value) for value in values)
