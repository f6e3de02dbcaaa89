"""What is to be judged: a question about pictures, its responses, and by which rubric."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edgecritic.errors import ContextOverflowError, InputError, shown
from edgecritic.strict_json import decode

MAX_LEVELS = 1001
MAX_TEXT_BYTES = 1 << 20
"""Of one text. No critic's context holds that much, and to count its tokens takes seconds."""

_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-|\.\.|to)\s*(\d{1,6})\s*")
_LEVEL = re.compile(r"\s*-?[0-9]{1,9}\s*")


@dataclass(frozen=True, slots=True)
class Rubric:
    """The scale of a pointwise verdict and, if wanted, what its levels mean.

    Attributes:
        low: lowest level, an integer >= 0.
        high: highest level, an integer > low; a rubric has at most 1001 levels.
        criteria: what to look at, in words; None for the template's own wording.
        levels: level to description, for some or all of the levels.

    Raises:
        InputError: the range is inverted, not of whole numbers, a level lies outside it, or a
            description is no text.
    """

    low: int = 1
    high: int = 10
    criteria: str | None = None
    levels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise InputError(
                    f"rubric {name} is {shown(value)}, not a whole number",
                    "give the range as two whole numbers such as 1-10 or 0-100",
                )
        if not 0 <= self.low < self.high:
            raise InputError(
                f"rubric range {self.low}-{self.high} is not ascending from zero or above",
                "put the lower level first, as in 1-10",
            )
        if self.high - self.low + 1 > MAX_LEVELS:
            raise InputError(
                f"rubric range {self.low}-{self.high} has more than {MAX_LEVELS} levels",
                "use a coarser scale such as 0-100",
            )
        if self.criteria is not None:
            _check_text("rubric criteria", self.criteria)
        for level, text in self.levels.items():
            if isinstance(level, bool) or not isinstance(level, int):
                raise InputError(f"rubric level {shown(level)} is not a whole number", "use 1, 2")
            _check_text(f"the rubric's level {level}", text)
        outside = [level for level in self.levels if not self.low <= level <= self.high]
        if outside:
            raise InputError(
                f"rubric describes level {outside[0]}, outside {self.low}-{self.high}",
                "describe only levels of the range",
            )
        object.__setattr__(self, "levels", MappingProxyType(dict(sorted(self.levels.items()))))

    @property
    def range(self) -> range:
        """All levels, ascending."""
        return range(self.low, self.high + 1)

    @classmethod
    def parse(cls, text: str) -> Rubric:
        """A rubric from ``"1-5"`` or from a JSON object.

        The object's keys: ``low``, ``high``, ``criteria`` (text) and ``levels`` (level to
        description); every key may be left out.

        Raises:
            InputError: neither form, or values that do not make a rubric.
        """
        if match := _RANGE.fullmatch(text):
            return cls(int(match[1]), int(match[2]))
        try:
            data = decode(text)
        except ValueError as error:
            raise InputError(
                f"rubric {shown(text)} is neither a range nor JSON: {error}",
                'use 1-5, or {"low": 1, "high": 5, "criteria": "...", "levels": {"1": "..."}}',
            ) from None
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Rubric:
        """The inverse of `to_dict`.

        Raises:
            InputError: an unknown key, or a value of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise InputError(
                f"rubric is a JSON {type(data).__name__}, not an object",
                'write a range such as 1-5, or {"low": 1, "high": 5, "criteria": "..."}',
            )
        unknown = set(data) - {"low", "high", "criteria", "levels"}
        if unknown:
            raise InputError(
                f"rubric has the unknown key {shown(min(unknown, key=str))}",
                "known keys: low, high, criteria, levels",
            )
        criteria, levels = data.get("criteria"), data.get("levels", {})
        if criteria is not None and not isinstance(criteria, str):
            raise InputError(f"rubric criteria is {shown(criteria)}, not text", "write one string")
        if not isinstance(levels, Mapping) or not all(isinstance(d, str) for d in levels.values()):
            raise InputError(
                "rubric levels is not a map from level to text",
                'write {"1": "wrong", "5": "right"}',
            )
        described = {_level(level): text for level, text in levels.items()}
        if len(described) < len(levels):
            raise InputError("rubric describes a level twice", "describe each level once")
        return cls(data.get("low", 1), data.get("high", 10), criteria, described)

    def __reduce__(self) -> tuple[type[Rubric], tuple[object, ...]]:
        """For pickle and copy, which do not know read-only maps."""
        return Rubric, (self.low, self.high, self.criteria, dict(self.levels))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "low": self.low,
            "high": self.high,
            "criteria": self.criteria,
            "levels": {str(level): text for level, text in self.levels.items()},
        }


@dataclass(frozen=True, slots=True)
class Task:
    """One judgement to make, before the pictures are decoded.

    Attributes:
        question: what was asked; not blank.
        responses: one response (pointwise) or two (pairwise); an empty response is legal.
        n_images: pictures that come with the question.
        reference: a right answer to compare with, or None.
        rubric: scale and criteria; a pairwise judgement uses the criteria only.
    """

    question: str
    responses: tuple[str, ...]
    n_images: int = 0
    reference: str | None = None
    rubric: Rubric = Rubric()

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question is empty", "say what the response was asked to answer")
        if not isinstance(self.rubric, Rubric):
            raise InputError(
                f"the rubric is {type(self.rubric).__name__}, not a Rubric",
                'use Rubric(1, 5), or Rubric.parse("1-5")',
            )
        _check_text("the question", self.question)
        for response in self.responses:
            _check_text("a response", response)
        if self.reference is not None:
            _check_text("the reference", self.reference)

    def swapped(self) -> Task:
        """The same pairwise judgement with the responses in the other order."""
        first, second = self.responses
        return Task(self.question, (second, first), self.n_images, self.reference, self.rubric)


def _level(key: object) -> int:
    """A level from the key of a map, which JSON spells as text."""
    if isinstance(key, str) and _LEVEL.fullmatch(key):
        return int(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise InputError(f"rubric level {shown(key)} is not a whole number", "use 1, 2, ...")


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}, not text", "pass it as str")
    try:
        n_bytes = len(text.encode())
    except UnicodeEncodeError as error:  # half a surrogate pair, as from an undecodable argument
        raise InputError(
            f"{what} holds {text[error.start]!r} at {error.start}, which is no character",
            "decode the text as UTF-8",
        ) from None
    if n_bytes > MAX_TEXT_BYTES:
        raise ContextOverflowError(
            f"{what} has {n_bytes:,} bytes: more than any critic reads ({MAX_TEXT_BYTES:,})",
            "shorten it; what fits is a few thousand words",
        )
