"""Sequences that share prefixes, in engines whose memory is one stretch of positions.

llama.cpp's cache gives every cell to any number of sequences. ONNX Runtime and torch attend to one
contiguous stretch of slots instead, which their kernels extend in place. The workbench lays the
sequences that are to be continued out on that stretch: what they share with those before them
stays where it is, what is in their way is put aside, and what was put aside is laid back. So a
prefix is computed once and never moved while its branches are decoded, and only what a branch has
of its own is copied, when another branch needs its place.

A sequence by itself lies in the first slots, cell behind cell, and nothing else does. Several of
them lie among each other, in the order in which their cells were computed; an engine that can
continue several at once is told which slots belong to whom.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Copy = TypeVar("Copy")
Slots: TypeAlias = NDArray[np.int64]
"""Places on the stretch, ascending."""


class Stretch(Protocol[Copy]):
    """Keys and values of consecutive slots, starting at 0."""

    def take(self, slots: Slots) -> Copy:
        """A copy of what lies in some slots."""
        ...

    def put(self, start: int, copy: Copy) -> None:
        """Write what `take` gave to the slots from `start` on."""
        ...


@dataclass(slots=True, eq=False)
class _Run(Generic[Copy]):
    """Consecutive cells of one or several sequences.

    Attributes:
        start: cells in front of it.
        length: cells; only a run that one sequence holds, and that was not copied, grows.
        slots: where it lies; None while it is put aside.
        holders: sequences that it belongs to.
        aside: a copy, once it had to give way.
    """

    start: int
    length: int
    slots: Slots | None
    holders: int = 1
    aside: Copy | None = None


class Workbench(Generic[Copy]):
    """Decides what lies on a stretch. Ids of sequences are the caller's.

    Args:
        stretch: the engine's memory.
        n_slots: that it has; enough for all sequences, what they share counted once.
    """

    def __init__(self, stretch: Stretch[Copy], n_slots: int) -> None:
        self._stretch = stretch
        self._n_slots = n_slots
        self._runs: dict[int, list[_Run[Copy]]] = {}
        self._laid: list[_Run[Copy]] = []

    def open(self, sequence: int) -> None:
        """Begin an empty sequence."""
        self._runs[sequence] = []

    def fork(self, sequence: int, copy: int, length: int | None = None) -> None:
        """Begin a sequence that shares the first `length` cells of another one, or all."""
        shared = self._runs[copy] = []
        for run in tuple(self._runs[sequence]):
            if length is not None and run.start >= length:
                break
            if length is not None and run.start + run.length > length:
                if run.slots is None:
                    self.lay(sequence)  # what was put aside cannot be cut, what lies there can
                self._cut(run, length - run.start)
            shared.append(run)
            run.holders += 1

    def _cut(self, run: _Run[Copy], length: int) -> None:
        """Make two runs of one that is laid out."""
        slots = _laid_slots(run)
        rest: _Run[Copy] = _Run(
            run.start + length, run.length - length, slots[length:], run.holders
        )
        run.length, run.slots, run.aside = length, slots[:length], None
        for runs in (*self._runs.values(), self._laid):
            if run in runs:
                runs.insert(runs.index(run) + 1, rest)

    def close(self, sequence: int) -> None:
        """Forget a sequence."""
        for run in self._runs.pop(sequence):
            run.holders -= 1
            if not run.holders:
                run.aside = None

    def lay(self, *sequences: int, room: int = 0) -> int:
        """Lay sequences out, to be continued.

        Args:
            sequences: one, which then lies in the first slots; or several.
            room: cells that will be computed.

        Returns:
            The first slot behind everything that lies there: the next cell is computed in it. For
            one sequence that is its length.
        """
        wanted = list(dict.fromkeys(run for key in sequences for run in self._runs[key]))
        self._laid = [run for run in self._laid if run.holders]
        several = len(sequences) > 1
        if not (several and self._has_room(wanted, room)):
            self._clear(_in_place(wanted))
        top = self._top
        for run in wanted:
            if run.slots is None:
                self._stretch.put(top, cast(Copy, run.aside))
                run.slots = np.arange(top, top + run.length)
                self._laid.append(run)
                top += run.length
                if several:  # copies that one sequence leaves behind serve the next change of turns
                    run.aside = None
        return top

    def slots(self, sequence: int) -> Slots:
        """Where a sequence that is laid out lies, cell by cell."""
        runs = self._runs[sequence]
        return np.concatenate([np.arange(0), *(_laid_slots(run) for run in runs)])

    def extend(self, sequence: int, slots: Slots) -> None:
        """Note that cells were computed behind a sequence that was laid out, and where."""
        runs = self._runs[sequence]
        if not runs or runs[-1].holders > 1 or runs[-1].aside is not None:
            runs.append(_Run(sum(run.length for run in runs), len(slots), slots))
            self._laid.append(runs[-1])
        else:
            last = runs[-1]
            last.slots = np.concatenate([_laid_slots(last), slots])
            last.length += len(slots)

    @property
    def _top(self) -> int:
        """The first slot behind everything."""
        return max((int(_laid_slots(run)[-1]) + 1 for run in self._laid), default=0)

    def _has_room(self, wanted: Collection[_Run[Copy]], room: int) -> bool:
        """Whether nothing has to give way; not if most of it would lie there for nothing."""
        n_cells = room + sum(run.length for run in wanted)
        missing = room + sum(run.length for run in wanted if run.slots is None)
        return self._top + missing <= min(self._n_slots, 2 * n_cells)

    def _clear(self, kept: Collection[_Run[Copy]]) -> None:
        """Put aside all that lies there, but for some runs."""
        for run in self._laid:
            if run not in kept:
                if run.aside is None:
                    run.aside = self._stretch.take(_laid_slots(run))
                run.slots = None
        self._laid = list(kept)


def _in_place(runs: Collection[_Run[Copy]]) -> list[_Run[Copy]]:
    """Those of the first runs that lie where they would if there were no others."""
    found: list[_Run[Copy]] = []
    end = 0
    for run in runs:
        if run.slots is None or run.slots[0] != end or run.slots[-1] != end + run.length - 1:
            break
        found.append(run)
        end += run.length
    return found


def _laid_slots(run: _Run[Copy]) -> Slots:
    assert run.slots is not None  # noqa: S101 - it lies on the stretch
    return run.slots
