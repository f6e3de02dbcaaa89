"""Numbers of a page, from a run's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

import numpy as np

from edgecritic_bench.speed.rows import Row, Rows
from edgecritic_bench.speed.tasks import Size, Task

Clock: TypeAlias = Literal["wall", "processor"]
_QUARTILES = (25, 50, 75)
_FEW = 10
_ALWAYS = ("prompt", "prefill")


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long another engine takes, or as many tokens a second come.

    Attributes:
        median: of the ratios of neighbouring repetitions.
        low: their lower quartile.
        high: their upper quartile.
        n: repetitions.
    """

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        spread = f" ({self.low:.2f}-{self.high:.2f})" if self.n > 1 else ""
        return f"**{self.median:.2f}**{spread}"


class Samples:
    """What the engines took for one task on pictures of one size.

    Args:
        rows: of the run.
        task: that was done.
        size: of the pictures.
    """

    def __init__(self, rows: Rows, task: Task, size: Size) -> None:
        self._by_engine: dict[str, dict[int, Row]] = {}
        for _, row in rows.under(f"task/{task}/{size[0]}x{size[1]}/"):
            if "error" not in row:
                self._by_engine.setdefault(row["engine"], {})[row["number"]] = row

    @property
    def engines(self) -> Sequence[str]:
        """Those that did it."""
        return list(self._by_engine)

    def seconds(self, engine: str, clock: Clock = "wall") -> float:
        """Median of the whole task, also where a part of it was done."""
        return float(median(_whole(row, clock) for row in self._by_engine[engine].values()))

    def is_part(self, engine: str) -> bool:
        """Whether only a part of the task was done, and its time multiplied."""
        return any(len(r["decided"]) < r["asked"] for r in self._by_engine[engine].values())

    def ratio(self, engine: str, ours: str, clock: Clock = "wall") -> Ratio:
        """An engine's time by ours: above 1, ours is faster."""
        theirs, mine = self._by_engine[engine], self._by_engine[ours]
        found = [_whole(theirs[n], clock) / _whole(mine[n], clock) for n in mine if n in theirs]
        return _ratio(found)

    def agreed(self, engine: str, ours: str) -> tuple[int, int]:
        """How many of the answers that both gave are the same, and how many there are."""
        theirs, mine = self._by_engine[engine], self._by_engine[ours]
        pairs = [
            pair
            for n in mine
            if n in theirs
            for pair in zip(theirs[n]["decided"], mine[n]["decided"], strict=False)
        ]
        return sum(a == b for a, b in pairs), len(pairs)

    def tokens(self, engine: str) -> Mapping[str, int]:
        """Of its last prompt."""
        found: Mapping[str, int] = list(self._by_engine[engine].values())[-1]["tokens"]
        return found

    def memory(self, engine: str, name: str) -> float:
        """The greatest that was seen, in MiB; NaN where the system does not tell."""
        rows = self._by_engine[engine].values()
        return max(float(row["memory"].get(name, "nan")) for row in rows)


def _whole(row: Row, clock: Clock) -> float:
    asked, done = int(row["asked"]), len(row["decided"])
    return float(row[clock]) * asked / max(1, done)


def rates(rows: Rows) -> dict[str, list[dict[str, float]]]:
    """Medians of tokens a second by engine, a dict for each length.

    They are called prompt, prefill, decode and, of ours, whole; few tokens have no rate.
    """
    found: dict[str, list[list[dict[str, float]]]] = {}
    for row in rows.of("rates"):
        if "error" not in row:
            found.setdefault(row["engine"], []).append([_told(one) for one in row["rates"]])
    return {
        engine: [
            {
                name: median(one[n][name] for one in runs)
                for name in ("prompt", "prefill", "decode", "whole")
                if all(name in one[n] for one in runs)
            }
            for n in range(len(runs[0]))
        ]
        for engine, runs in found.items()
    }


def share(rows: Rows, length: int, name: str) -> Ratio:
    """Ours by the plain loop's, turn by turn: the machine may be slower in the next one.

    Args:
        rows: of the run.
        length: which of the lengths.
        name: of the rate.
    """
    turns: dict[str, list[float]] = {"edgecritic": [], "plain": []}
    for row in rows.of("rates"):
        if "error" not in row:
            turns[row["engine"]].append(row["rates"][length][name])
    return _ratio([a / b for a, b in zip(*turns.values(), strict=False)])


def _ratio(found: Sequence[float]) -> Ratio:
    low, middle, high = np.percentile(found, _QUARTILES)
    return Ratio(float(middle), float(low), float(high), len(found))


def _told(rate: dict[str, float]) -> dict[str, float]:
    enough = rate["written"] >= _FEW
    return {name: value for name, value in rate.items() if name in _ALWAYS or enough}


def grown(rows: Rows, kind: str, engine: str) -> list[tuple[int, Row]]:
    """(value, the quickest repetition's row) of one kind of growth, ascending."""
    found: dict[int, list[Row]] = {}
    for value, row in rows.under(f"growth/{kind}/"):
        if row.get("engine") == engine and "error" not in row:
            found.setdefault(int(value), []).append(row)
    return [
        (value, min(same, key=lambda row: float(row["seconds" if "seconds" in row else "scores"])))
        for value, same in sorted(found.items())
    ]
