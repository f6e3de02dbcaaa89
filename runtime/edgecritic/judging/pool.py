"""Sequences of an engine: lent to whoever decodes, and kept for those who come later.

What was decoded stays in the cache after its judgement, so that a second question about the same
picture does not decode the picture again. The least recently used go first: when more cells are
kept than may be, and whenever somebody needs their cells or their place.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgecritic.backends.base import Backend
from edgecritic.judging.trie import Units, common_length, count_cells, without_features


@dataclass(slots=True, eq=False)
class Held:
    """A sequence that nobody works with at the moment.

    Attributes:
        sequence: the backend's.
        units: what it holds, without the features of pictures.
        n_cells: cells that they take.
    """

    sequence: int
    units: Units
    n_cells: int


class PrefixPool:
    """All sequences of one engine.

    Args:
        backend: no sequence of it is open.
        max_cells: cells that may be kept, as if no two sequences shared any; those of the engine
            when left out, and 0 keeps nothing.

    Attributes:
        promised: free cells that are spoken for: texts that are being generated need them.
    """

    def __init__(self, backend: Backend, max_cells: int | None = None) -> None:
        self._backend = backend
        self._max_cells = backend.info.n_ctx if max_cells is None else max_cells
        self._held: list[Held] = []  # the least recently used first
        self._lent: set[int] = set()
        self.promised = 0

    @property
    def held(self) -> tuple[Held, ...]:
        """What is kept, the least recently used first."""
        return tuple(self._held)

    @property
    def free_cells(self) -> int:
        """Cells that can be taken without dropping anything."""
        return self._backend.free_cells - self.promised

    @property
    def free_sequences(self) -> int:
        """Sequences that can be lent, if need be by dropping what is kept."""
        return self._backend.info.max_sequences - len(self._lent)

    def nearest(self, units: Units) -> tuple[Held | None, int]:
        """What shares the longest beginning with `units`, and the length of that."""
        shared = [(common_length(held.units, 0, units), held) for held in self._held]
        n_units, held = max(shared, key=lambda found: found[0], default=(0, None))
        return (held, n_units) if n_units else (None, 0)

    def has(self, held: Held) -> bool:
        """Whether it is still kept."""
        return held in self._held

    def can_fork(self, held: Held) -> bool:
        """Whether it is still there, and there is a place for a fork of it."""
        return self.has(held) and self.free_sequences > 1

    def lend(self, held: Held | None = None, n_cells: int = 0) -> int:
        """A new sequence: empty, or with the first cells of what is kept."""
        self._vacate(sparing=held)
        if held is None:
            sequence = self._backend.open_sequence()
        else:
            sequence = self._backend.fork(held.sequence, n_cells)
            self._held.remove(held)
            self._held.append(held)
        self._lent.add(sequence)
        return sequence

    def fork(self, sequence: int) -> int:
        """A new sequence with the cells of one that was lent."""
        self._vacate()
        copy = self._backend.fork(sequence)
        self._lent.add(copy)
        return copy

    def give_back(self, sequence: int, units: Units = ()) -> None:
        """Take back what was lent; with `units`, what it holds, to keep it."""
        self._lent.remove(sequence)
        n_cells = count_cells(units)
        if not 0 < n_cells <= self._max_cells:
            self._backend.close_sequence(sequence)
            return
        for held in self.held:  # nobody needs the beginning of what is there as a whole
            if common_length(units, 0, held.units) == len(held.units):
                self._drop(held)
        self._held.append(Held(sequence, without_features(units), n_cells))
        while sum(held.n_cells for held in self._held) > self._max_cells:
            self._drop(self._held[0])

    def make_room(self, n_cells: int, sparing: Collection[Held] = ()) -> bool:
        """Drop what is kept until as many cells are free; whether that was enough."""
        for held in self.held:
            if self.free_cells >= n_cells:
                break
            if held not in sparing:
                self._drop(held)
        return self.free_cells >= n_cells

    def keep_only(self, units: Units) -> bool:
        """Drop all but a sequence of exactly these units; whether there is one."""
        for held in self.held:
            if held.units != units:
                self._drop(held)
        return bool(self._held)

    def forget(self) -> None:
        """Drop all that is kept."""
        for held in self.held:
            self._drop(held)

    def _vacate(self, sparing: Held | None = None) -> None:
        """Drop one sequence if all places are taken."""
        if len(self._lent) + len(self._held) < self._backend.info.max_sequences:
            return
        for held in self.held:
            if held is not sparing:
                self._drop(held)
                return

    def _drop(self, held: Held) -> None:
        self._held.remove(held)
        self._backend.close_sequence(held.sequence)
