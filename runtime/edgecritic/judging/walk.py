"""One walk over a tree of prompts: each node is decoded once, in as few batches as possible.

Trees that fit are decoded level by level, side by side. One that has more cells or leaves than are
free is gone through depth first, so its longest row is all that must fit. Where even the sequence
is missing that would hold a node for its children, row by row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgecritic.backends.base import Append, FloatArray
from edgecritic.judging.pool import Held, PrefixPool
from edgecritic.judging.trie import Node, Units, build_tree, common_length, count_cells, spans_of

AppendAll: TypeAlias = Callable[[Sequence[Append]], list[FloatArray | None]]
_SIDE_BY_SIDE: Final = 512
"""Cells from which on a batch is large enough to be worth no further tree in it."""


@dataclass(slots=True)
class Spent:
    """What rows cost.

    Attributes:
        decoded: cells decoded; those that several owners share count for the first of them.
        reused: cells that were there already, or are another owner's.
    """

    decoded: int = 0
    reused: int = 0


@dataclass(slots=True, eq=False)
class _Place:
    """Where the walk stands.

    Attributes:
        sequence: holds `units`; None in front of the first cell.
        units: the way from the root.
        n_cells: cells that they take.
        near: what is kept in the pool and agrees with all of the way.
        kept: a row that is to be kept ends on the way.
    """

    sequence: int | None
    units: Units
    n_cells: int
    near: tuple[Held, ...]
    kept: int | None = None


class Walk:
    """Decodes rows.

    Args:
        pool: lends the sequences.
        append: `Backend.append`.
        rows: none of them empty; equal rows are decoded once.
        read: called once with each row's index and its (n_vocab,) logits, in no set order.
        owners: whom each row belongs to, counted from 0; all to one when left out.
        keep: rows that the pool shall keep.
        wanted: whether a row is still wanted; asked as the walk goes on.
    """

    def __init__(
        self,
        pool: PrefixPool,
        append: AppendAll,
        rows: Sequence[Units],
        read: Callable[[int, FloatArray], None],
        *,
        owners: Sequence[int] | None = None,
        keep: Collection[int] = (),
        wanted: Callable[[int], bool] = lambda row: True,
    ) -> None:
        self._owners = [0] * len(rows) if owners is None else owners
        self.spent = [Spent() for _ in range(max(self._owners) + 1)]
        self._pool = pool
        self._append_all = append
        self._rows = rows
        self._read = read
        self._keep = set(keep)
        self._is_wanted = wanted
        self._done: set[int] = set()
        self._open: set[int] = set()

    def run(self) -> None:
        """Take all steps."""
        deque(self.steps(), maxlen=0)

    def steps(self) -> Iterator[None]:
        """The walk, with a pause behind each batch. However it ends, nothing stays lent."""
        try:
            yield from self._forest(build_tree(self._rows), _Place(None, (), 0, self._pool.held))
        finally:
            for sequence in tuple(self._open):
                self._close(sequence)

    def _forest(self, nodes: Sequence[Node], parent: _Place) -> Iterator[None]:
        """Decode trees behind `parent`, which stays open."""
        rest = deque(nodes)
        while rest:
            if not self._wanted(rest[0]):
                rest.popleft()
            elif group := self._group(rest, parent):
                yield from self._levels(group, parent)
            elif self._pool.free_sequences > 1:
                node = rest.popleft()
                (place,) = yield from self._advance([(node, parent, False)])
                yield from self._forest(node.children, place)
                self._finish(place)
            else:
                for path in _paths(rest.popleft()):
                    self._pool.make_room(_tree_cells(path))
                    yield from self._levels([path], parent)

    def _group(self, rest: deque[Node], parent: _Place) -> list[Node]:
        """Take trees that can be decoded side by side, as many as are worth it; maybe none."""
        pool, n_leaves = self._pool, rest[0].n_leaves
        if n_leaves > pool.free_sequences:
            return []
        n_cells, used = self._new_cells(rest[0], parent)
        # What is forked takes a place as well, as long as it is forked.
        shares = n_leaves + len(used) <= pool.free_sequences
        if not (shares and pool.make_room(n_cells, sparing=used)):
            return [rest.popleft()] if pool.make_room(_tree_cells(rest[0])) else []
        group = [rest.popleft()]
        while rest and n_cells < _SIDE_BY_SIDE:
            n_more, used_more = self._new_cells(rest[0], parent)
            n_leaves, n_cells, used = (
                n_leaves + rest[0].n_leaves,
                n_cells + n_more,
                used | used_more,
            )
            if n_leaves + len(used) > pool.free_sequences or n_cells > pool.free_cells:
                break
            group.append(rest.popleft())
        return group

    def _new_cells(self, tree: Node, parent: _Place) -> tuple[int, set[Held]]:
        """Cells of a tree that have to be decoded, and where the others are."""
        matches = self._matches(tree, parent)
        n_units, nearest = max(matches, key=lambda found: found[0], default=(0, None))
        n_cells = count_cells(tree.units[self._n_reused(tree, n_units) :])
        used = {nearest} if nearest is not None and n_units else set()
        if n_units == len(tree.units):
            place = self._behind(tree, parent, matches)
            for child in tree.children:
                n_below, used_below = self._new_cells(child, place)
                n_cells += n_below
                used |= used_below
        else:
            n_cells += sum(_tree_cells(child) for child in tree.children)
        return n_cells, used

    def _levels(self, nodes: Sequence[Node], parent: _Place) -> Iterator[None]:
        """Decode trees for which there is room, level by level."""
        level = [(node, parent, False) for node in nodes if self._wanted(node)]
        while level:
            places = yield from self._advance(level)
            below: list[tuple[Node, _Place, bool]] = []
            for (node, _, _), place in zip(level, places, strict=True):
                children = [child for child in node.children if self._wanted(child)]
                # The last one goes on with its parent's sequence.
                below += [(child, place, child is children[-1]) for child in children]
                if not children:
                    self._finish(place)
            level = below

    def _advance(
        self, steps: Sequence[tuple[Node, _Place, bool]]
    ) -> Generator[None, None, list[_Place]]:
        """Decode nodes, each behind its place, side by side.

        Args:
            steps: nodes, their parents' places, and whether one takes its parent's sequence over.
        """
        places: list[_Place] = []
        appends: list[Append] = []
        ended: list[Node] = []
        for node, parent, takes_over in steps:
            place, rest = self._start(node, parent, takes_over)
            places.append(place)
            if rest:
                wants = not self._done.issuperset(node.rows)
                appends.append(Append(_open(place), spans_of(rest), logits=wants))
                ended.append(node)
            self._charge(node, count_cells(rest))
        if appends:
            self._pool.make_room(sum(map(len, appends)))
            found = self._append_all(appends)
            for node, logits in zip(ended, found, strict=True):
                if logits is not None:
                    self._tell(node, logits)
            yield
        return places

    def _start(self, node: Node, parent: _Place, takes_over: bool) -> tuple[_Place, Units]:
        """A sequence for a node with as much of it as is there, and the units that are not."""
        matches = self._matches(node, parent)
        place = self._behind(node, parent, matches)
        n_units, nearest = max(matches, key=lambda found: found[0], default=(0, None))
        n_units = self._n_reused(node, n_units)
        if nearest is not None and n_units and self._pool.can_fork(nearest):
            if takes_over:
                self._close(_open(parent))
            there = parent.n_cells + count_cells(node.units[:n_units])
            place.sequence = self._pool.lend(nearest, there)
        else:
            n_units = 0
            place.sequence = self._continued(parent, takes_over)
        self._open.add(place.sequence)
        return place, node.units[n_units:]

    def _n_reused(self, node: Node, n_units: int) -> int:
        """Logits come from decoding: where they are wanted, the last unit is decoded again."""
        wants = not self._done.issuperset(node.rows)
        return n_units - (wants and n_units == len(node.units))

    def _continued(self, parent: _Place, takes_over: bool) -> int:
        if parent.sequence is None:
            return self._pool.lend()
        return parent.sequence if takes_over else self._pool.fork(parent.sequence)

    def _matches(self, node: Node, parent: _Place) -> list[tuple[int, Held]]:
        """How much of a node is in the pool behind the same way, and where."""
        start = len(parent.units)
        return [
            (common_length(held.units, start, node.units), held)
            for held in parent.near
            if self._pool.has(held)
        ]

    def _behind(self, node: Node, parent: _Place, matches: list[tuple[int, Held]]) -> _Place:
        kept = next((row for row in node.rows if row in self._keep), parent.kept)
        return _Place(
            None,
            parent.units + node.units,
            parent.n_cells + node.n_cells,
            tuple(held for n_units, held in matches if n_units == len(node.units)),
            kept,
        )

    def _tell(self, node: Node, logits: FloatArray) -> None:
        for row in node.rows:
            if row not in self._done:
                self._done.add(row)
                self._read(row, logits)

    def _charge(self, node: Node, n_decoded: int) -> None:
        first, *others = sorted({self._owners[row] for row in node.below})
        self.spent[first].decoded += n_decoded
        self.spent[first].reused += node.n_cells - n_decoded
        for owner in others:
            self.spent[owner].reused += node.n_cells

    def _wanted(self, node: Node) -> bool:
        return any(row not in self._done and self._is_wanted(row) for row in node.below)

    def _finish(self, place: _Place) -> None:
        sequence = _open(place)
        if place.kept in self._keep:
            self._keep.discard(place.kept)
            self._open.remove(sequence)
            self._pool.give_back(sequence, place.units)
        else:
            self._close(sequence)

    def _close(self, sequence: int) -> None:
        self._open.remove(sequence)
        self._pool.give_back(sequence)


def _open(place: _Place) -> int:
    assert place.sequence is not None  # noqa: S101 - only the root has none, and is not opened
    return place.sequence


def _tree_cells(node: Node) -> int:
    return node.n_cells + sum(_tree_cells(child) for child in node.children)


def _paths(node: Node) -> Iterator[Node]:
    """The ways down to all leaves, each as a tree without branches."""
    if not node.children:
        yield node
    for child in node.children:
        for path in _paths(child):
            yield Node(node.units, node.rows, (path,))
