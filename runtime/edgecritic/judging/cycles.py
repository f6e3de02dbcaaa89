"""Preferences that contradict each other: a beats b, b beats c, and c beats a."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from edgecritic.verdict import Preference

Beaten: TypeAlias = Mapping[int, Sequence[int]]
"""By response, those that it beats."""
Circle: TypeAlias = tuple[int, ...]
"""Each beats the one behind it, and the last one beats the first."""


def cycles(n: int, preferences: Sequence[tuple[int, int, Preference]]) -> tuple[Circle, ...]:
    """The contradictions among preferences; ties contradict nothing.

    Args:
        n: responses.
        preferences: (i, j, preference of i over j).

    Returns:
        For each group of responses that lead round to each other the shortest circle through the
        group's first.
    """
    beaten: dict[int, list[int]] = {i: [] for i in range(n)}
    for i, j, preference in preferences:
        if preference.winner == "first":
            beaten[i].append(j)
        elif preference.winner == "second":
            beaten[j].append(i)
    reached = {i: _reached(i, beaten) for i in range(n)}
    found: list[Circle] = []
    grouped: set[int] = set()
    for i in range(n):
        if i in reached[i] and i not in grouped:
            grouped |= {j for j in reached[i] if i in reached[j]}
            found.append(_shortest_circle(i, beaten))
    return tuple(found)


def _reached(start: int, beaten: Beaten) -> set[int]:
    """All that `start` beats, or beats by way of others."""
    found: set[int] = set()
    open_ = [start]
    while open_:
        for loser in beaten[open_.pop()]:
            if loser not in found:
                found.add(loser)
                open_.append(loser)
    return found


def _shortest_circle(start: int, beaten: Beaten) -> Circle:
    paths: deque[Circle] = deque([(start,)])
    seen: set[int] = set()
    while True:  # there is one
        path = paths.popleft()
        for loser in sorted(beaten[path[-1]]):
            if loser == start:
                return path
            if loser not in seen:
                seen.add(loser)
                paths.append((*path, loser))
