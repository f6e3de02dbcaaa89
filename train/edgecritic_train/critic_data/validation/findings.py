"""Findings: what is wrong, how often, and where first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
_EXAMPLES = 5
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be wrong.

    Attributes:
        name: short, for programs.
        severity: an error keeps the rows from being trained on; a warning wants a look.
        text: what it means, for people.
        cure: what mends it.
    """

    name: str
    severity: Severity
    text: str
    cure: str


@dataclass(slots=True)
class Found:
    """How often a kind was found.

    Attributes:
        count: places.
        examples: the first of them, each with file and line.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Findings:
    """Collects findings by kind."""

    def __init__(self) -> None:
        self._found: dict[Kind, Found] = {}

    def add(self, kind: Kind, where: str) -> None:
        """Count a place."""
        found = self._found.setdefault(kind, Found())
        found.count += 1
        if len(found.examples) < _EXAMPLES:
            found.examples.append(where)

    def count(self, kind: Kind) -> int:
        """Places of a kind."""
        return self._found[kind].count if kind in self._found else 0

    def __iter__(self) -> Iterator[tuple[Kind, Found]]:
        return iter(
            sorted(self._found.items(), key=lambda i: (_ORDER.index(i[0].severity), i[0].name))
        )

    @property
    def n_errors(self) -> int:
        """Kinds of errors found."""
        return sum(kind.severity == "error" for kind in self._found)

    def to_dict(self) -> list[dict[str, Any]]:
        """A JSON-ready list, errors first."""
        return [
            {
                "name": kind.name,
                "severity": kind.severity,
                "text": kind.text,
                "cure": kind.cure,
                "count": found.count,
                "examples": found.examples,
            }
            for kind, found in self
        ]
