"""How far a run is, and when it will be done."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Progress:
    """Counts of judgements, arm by arm.

    Attributes:
        rows: of each arm.
        remaining: rows left, by arm.
        started: monotonic second of the beginning.
        judged: rows judged since.
    """

    rows: Mapping[str, int]
    remaining: dict[str, int]
    started: float = field(default_factory=time.monotonic)
    judged: int = 0

    @classmethod
    def begin(cls, left: Mapping[str, int], rows: Mapping[str, int]) -> Self:
        """A run whose arms have so many of their rows left."""
        return cls(rows, dict(left))

    @property
    def total(self) -> int:
        """Judgements of all arms."""
        return sum(self.rows.values())

    def left(self, arm: str) -> int:
        """Rows that an arm has to judge yet."""
        return self.remaining[arm]

    def add(self, arm: str, n: int) -> Self:
        """Count rows that an arm has judged."""
        self.remaining[arm] = max(0, self.remaining[arm] - n)
        self.judged += n
        return self

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far; None before anything was judged."""
        elapsed = time.monotonic() - self.started
        return sum(self.remaining.values()) * elapsed / self.judged if self.judged else None

    def __str__(self) -> str:
        left, arms = sum(self.remaining.values()), len(self.remaining)
        whole = max(1, self.total)
        done = sum(1 for n in self.remaining.values() if n == 0)
        eta = self.seconds_left
        time_left = "" if eta is None else f", {duration(eta)} left"
        return (
            f"{1 - left / whole:.0%}: {whole - left:,} of {whole:,} judgements, "
            f"{done} of {arms} arms done{time_left}"
        )


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Teller:
    """Shows progress on stderr: one line that changes on a terminal, a line now and then elsewhere.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 15.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._every = 0.5 if self._terminal else every
        self._last = -self._every

    def __call__(self, progress: Progress) -> None:
        now, over = time.monotonic(), not any(progress.remaining.values())
        if now - self._last < self._every and not over:
            return
        self._last = now
        start, end = ("\r\x1b[K", "\n" if over else "") if self._terminal else ("", "\n")
        sys.stderr.write(f"{start}{progress}{end}")
        sys.stderr.flush()
