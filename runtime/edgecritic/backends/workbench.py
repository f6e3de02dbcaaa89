"""Sequences that share prefixes, in engines whose memory holds one sequence at a time.

llama.cpp's cache gives every cell to any number of sequences. ONNX Runtime and torch attend to one
contiguous stretch of positions instead, which their kernels extend in place. The workbench lays
the sequence that is to be continued out on that stretch: what it shares with the sequence before
it stays where it is, what is in its way is put aside, and what was put aside is laid back. So a
prefix is computed once and never moved while its branches are decoded one behind the other, and
only what a branch has of its own is copied, when another branch needs its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

Copy = TypeVar("Copy")


class Stretch(Protocol[Copy]):
    """Keys and values of consecutive positions, starting at 0."""

    def take(self, start: int, stop: int) -> Copy:
        """A copy of positions `start` to `stop`."""
        ...

    def put(self, start: int, copy: Copy) -> None:
        """Write back what `take` gave, at `start`."""
        ...


@dataclass(slots=True, eq=False)
class _Run(Generic[Copy]):
    """Positions of one or several sequences.

    Attributes:
        start: its first position.
        length: positions; only a run that one sequence holds, and that was not copied, grows.
        holders: sequences that it belongs to.
        aside: a copy, once it had to give way.
    """

    start: int
    length: int = 0
    holders: int = 1
    aside: Copy | None = None


class Workbench(Generic[Copy]):
    """Decides what lies on a stretch. Ids of sequences are the caller's.

    Args:
        stretch: the engine's memory; long enough for every sequence.
    """

    def __init__(self, stretch: Stretch[Copy]) -> None:
        self._stretch = stretch
        self._runs: dict[int, list[_Run[Copy]]] = {}
        self._laid: list[_Run[Copy]] = []

    def open(self, sequence: int) -> None:
        """Begin an empty sequence."""
        self._runs[sequence] = []

    def fork(self, sequence: int, copy: int, length: int | None = None) -> None:
        """Begin a sequence that shares the first `length` positions of another one, or all."""
        shared = self._runs[copy] = []
        for run in tuple(self._runs[sequence]):
            if length is not None and run.start >= length:
                break
            if length is not None and run.start + run.length > length:
                self.lay(sequence)  # what was put aside cannot be cut, what lies there can
                self._cut(run, length - run.start)
            shared.append(run)
            run.holders += 1

    def _cut(self, run: _Run[Copy], length: int) -> None:
        """Make two runs of one that is laid out."""
        rest: _Run[Copy] = _Run(run.start + length, run.length - length, run.holders)
        run.length, run.aside = length, None
        for runs in (*self._runs.values(), self._laid):
            if run in runs:
                runs.insert(runs.index(run) + 1, rest)

    def close(self, sequence: int) -> None:
        """Forget a sequence."""
        for run in self._runs.pop(sequence):
            run.holders -= 1
            if not run.holders:
                run.aside = None

    def lay(self, sequence: int) -> int:
        """Lay a sequence out, to be continued.

        Returns:
            Its length; the next position is computed there.
        """
        wanted = self._runs[sequence]
        pairs = zip(self._laid, wanted, strict=False)
        shared = next((k for k, (a, b) in enumerate(pairs) if a is not b), None)
        if shared is None:
            shared = min(len(self._laid), len(wanted))
        for run in self._laid[shared:]:
            if run.holders and run.aside is None:
                run.aside = self._stretch.take(run.start, run.start + run.length)
        for run in wanted[shared:]:
            self._stretch.put(run.start, cast(Copy, run.aside))  # not laid out, so put aside
        self._laid = list(wanted)
        return sum(run.length for run in wanted)

    def extend(self, sequence: int, n: int) -> None:
        """Note that `n` positions were computed behind the sequence that was laid out."""
        runs = self._runs[sequence]
        if not runs or runs[-1].holders > 1 or runs[-1].aside is not None:
            runs.append(_Run(sum(run.length for run in runs)))
            self._laid.append(runs[-1])
        runs[-1].length += n
