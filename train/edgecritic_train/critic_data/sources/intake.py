"""What became of the records of a source: taken, or dropped with the reason counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edgecritic.errors import CriticError, InputError
from edgecritic_train.critic_data.rows import CriticRow

logger = logging.getLogger(__name__)
_SHOWN_FIRST = 5


@dataclass(slots=True)
class Intake:
    """Counts what a loader takes and drops.

    Attributes:
        strict: a record that cannot be used stops the loader.
        quiet: nothing is said of single records, for a source that is gone through again.
        taken: rows by source.
        dropped: records by source and reason.
    """

    strict: bool = False
    quiet: bool = False
    taken: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, rows: Iterable[CriticRow]) -> Iterator[CriticRow]:
        """Count rows on their way through."""
        for row in rows:
            self.taken[row.source] += 1
            yield row

    def drop(self, source: str, why: str, place: str, error: CriticError | None = None) -> None:
        """Count a record that is left out.

        Raises:
            InputError: the intake is strict.
        """
        told = f"{place}: {error.message if error is not None else why}"
        if self.strict:
            raise InputError(told, error.hint if error is not None else "mend it or leave it out")
        if not self.quiet and self.n_dropped < _SHOWN_FIRST:
            logger.warning("left out: %s", told)
        self.dropped[source, why] += 1

    @property
    def n_taken(self) -> int:
        return sum(self.taken.values())

    @property
    def n_dropped(self) -> int:
        return sum(self.dropped.values())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready report."""
        return {
            "taken": dict(sorted(self.taken.items())),
            "dropped": [
                {"source": source, "why": why, "count": count}
                for (source, why), count in sorted(self.dropped.items())
            ],
        }

    def lines(self) -> Iterator[str]:
        """The same for people."""
        for source, count in sorted(self.taken.items()):
            yield f"{count:>9,}  {source or '(no source)'}"
        for (source, why), count in sorted(self.dropped.items()):
            yield f"{count:>9,}  left out of {source or '(no source)'}: {why}"
