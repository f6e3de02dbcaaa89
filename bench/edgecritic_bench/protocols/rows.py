"""What benchmarks ask: one response to score, two to compare, several to rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from edgecritic import Rubric
from edgecritic_bench.records import Winner

Image: TypeAlias = Path | bytes
"""A file, or an encoded picture that came inside a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What all rows have.

    Attributes:
        key: names the row in files of verdicts; unique in its benchmark.
        question: what the judged models were asked.
        images: in the order in which the question speaks of them; may be empty.
        category: of the benchmark's own; empty where it has none.
        models: who wrote each response; empty texts where unknown.
        item: rows of one item share a picture, and are resampled together.
    """

    key: str
    question: str
    images: tuple[Image, ...] = ()
    category: str = ""
    models: tuple[str, ...] = ()
    item: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow(Row):
    """Two responses, and which is better.

    Attributes:
        responses: as the data set orders them.
        gold: the better one.
        rubric: its criteria say by what to judge.
    """

    responses: tuple[str, str]
    gold: Winner
    rubric: Rubric = field(default_factory=Rubric)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow(Row):
    """One response, and its score.

    Attributes:
        response: what was answered.
        gold: in units of `rubric`; means of several people are fractions.
        rubric: the range.
        reference: a right answer that the judge may see, or None.
    """

    response: str
    gold: float
    rubric: Rubric = field(default_factory=Rubric)
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow(Row):
    """Several responses, and their order.

    Attributes:
        responses: as the data set orders them.
        gold: their indices, the best first.
    """

    responses: tuple[str, ...]
    gold: tuple[int, ...]


AnyRow: TypeAlias = PairRow | ScoreRow | OrderRow


def unique_keys(names: Sequence[str]) -> list[str]:
    """The names, repeated ones numbered: ``a``, ``b``, ``a~2``."""
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return keys
