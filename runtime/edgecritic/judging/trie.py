"""Many prompts as one tree, so that what they share is decoded once.

A row is a prompt whose next-token logits are wanted. Rows are laid out as a radix tree; every
node of it is decoded once, on a sequence that is forked for the node's children. Subtrees without
branches ("lines", mostly leaves) are decoded in as few batches as sequences and KV cells allow,
branching ones depth-first, so the tree's longest row is all that must fit into the context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from edgecritic.backends.base import (
    Append,
    Backend,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    Span,
    TextSpan,
)
from edgecritic.errors import ContextOverflowError

Row: TypeAlias = tuple[Span, ...]
Unit: TypeAlias = int | ImageSpan
"""What a row may be split into: a token, or a picture, which is one piece."""


@dataclass(frozen=True, slots=True)
class Node:
    """Cells that its rows and the rows below share, behind those of its parent.

    Attributes:
        spans: what to append to the parent's sequence; never empty.
        rows: rows that end here, by index.
        children: what follows, each child starting with another unit.
    """

    spans: tuple[Span, ...]
    rows: tuple[int, ...]
    children: tuple[Node, ...]

    @property
    def n_cells(self) -> int:
        """Cells of this node alone."""
        return sum(len(span) for span in self.spans)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What it took.

    Attributes:
        cells: cells decoded; those of the tree, unless sequences were so few that
            something had to be decoded again.
        kept: the sequence of the row that was to be kept, open; the caller closes it.
    """

    cells: int
    kept: int | None


def row_length(row: Row) -> int:
    """Cells of a row."""
    return sum(len(span) for span in row)


def build_tree(rows: Sequence[Row]) -> tuple[Node, ...]:
    """The radix tree of `rows`, as the children of an empty root.

    Raises:
        ValueError: a row is empty: there is no logits row before the first cell.
    """
    units = [tuple(_units(row)) for row in rows]
    if not all(units):
        raise ValueError("a row without tokens has no logits")
    return _branches(list(enumerate(units)), 0)


def _units(row: Row) -> Iterator[Unit]:
    for span in row:
        if isinstance(span, TextSpan):
            yield from span.tokens
        else:
            yield span


def _branches(rows: list[tuple[int, tuple[Unit, ...]]], start: int) -> tuple[Node, ...]:
    groups: dict[Unit, list[tuple[int, tuple[Unit, ...]]]] = {}
    for row in rows:
        groups.setdefault(row[1][start], []).append(row)
    return tuple(_node(group, start) for group in groups.values())


def _node(group: list[tuple[int, tuple[Unit, ...]]], start: int) -> Node:
    first = group[0][1]
    end = min(len(units) for _, units in group)
    for _, units in group[1:]:
        end = next((k for k in range(start, end) if units[k] != first[k]), end)
    return Node(
        spans=tuple(_spans(first[start:end])),
        rows=tuple(index for index, units in group if len(units) == end),
        children=_branches([row for row in group if len(row[1]) > end], end),
    )


def _spans(units: Sequence[Unit]) -> Iterator[Span]:
    for is_picture, run in groupby(units, key=lambda unit: isinstance(unit, ImageSpan)):
        if is_picture:
            yield from (unit for unit in run if isinstance(unit, ImageSpan))
        else:
            yield TextSpan(tuple(unit for unit in run if isinstance(unit, int)))


def decode_rows(
    backend: Backend,
    rows: Sequence[Row],
    read: Callable[[int, FloatArray], None],
    *,
    keep: int | None = None,
    base: int | None = None,
    reserve: int = 0,
    cancel: CancelToken | None = None,
) -> Decoded:
    """Decode all rows and hand out the logits after each of them.

    Args:
        backend: has no other sequences open than `base`.
        rows: none of them empty; equal rows are decoded once.
        read: called once with each row's index and its (n_vocab,) logits, in no set order.
        keep: the row whose sequence stays open, to generate behind it.
        base: an open sequence that all rows continue; it is left as it is.
        reserve: cells that must still fit behind the row to keep.
        cancel: stops the decoding.

    Raises:
        ContextOverflowError: a row is longer than the context; nothing was decoded.
        Cancelled: `cancel` was set.

    Whatever is raised, all sequences but `base` are closed again.
    """
    room = backend.info.n_ctx - (0 if base is None else backend.length(base))
    check_fit(rows, room, keep, reserve)
    n_sequences = backend.info.max_sequences - (0 if base is None else 1)
    walk = _Walk(backend, read, keep=keep, n_sequences=n_sequences, room=room, cancel=cancel)
    try:
        walk.below(build_tree(rows), base)
        if walk.kept is not None:
            walk.open.remove(walk.kept)
    finally:
        for sequence in walk.open:
            backend.close_sequence(sequence)
    return Decoded(walk.cells, walk.kept)


def check_fit(rows: Sequence[Row], room: int, keep: int | None = None, reserve: int = 0) -> None:
    """Check that each row fits by itself.

    Args:
        rows: at least one.
        room: cells that are free.
        keep: the row behind which `reserve` more cells are needed.
        reserve: see `keep`.

    Raises:
        ContextOverflowError: one does not.
    """
    needs = [row_length(row) + (reserve if index == keep else 0) for index, row in enumerate(rows)]
    needed = max(needs)
    if needed <= room:
        return
    longest = rows[needs.index(needed)]
    n_image = sum(len(span) for span in longest if isinstance(span, ImageSpan))
    fitting = max(0, room - n_image)
    beside = f"beside the {n_image} tokens of the picture, " if n_image else ""
    raise ContextOverflowError(
        f"the request needs {needed} tokens and the context has {room} available: "
        f"{beside}{fitting} tokens of text fit, and the text has {needed - n_image} "
        "(instructions and answer included)",
        "shorten the question, the responses or the reference"
        + (", or use a smaller picture" if n_image else ""),
    )


class _Walk:
    """One walk over a tree: which sequences are open, and how many cells they hold."""

    def __init__(
        self,
        backend: Backend,
        read: Callable[[int, FloatArray], None],
        *,
        keep: int | None,
        n_sequences: int,
        room: int,
        cancel: CancelToken | None,
    ) -> None:
        self.open: set[int] = set()
        self.kept: int | None = None
        self.cells = 0
        self._backend = backend
        self._read = read
        self._keep = keep
        self._sequences = n_sequences
        self._room = room
        self._cancel = cancel
        self._done: set[int] = set()

    def below(self, children: Sequence[Node], parent: int | None) -> None:
        """Decode what follows `parent`, which stays open; None stands for the empty sequence."""
        if self._sequences - len(self.open) > 1:
            lines = [_line(child) for child in children if self._is_line(child)]
            branching = [child for child in children if not self._is_line(child)]
        else:  # no sequence is left to hold a node for its children: decode row by row
            lines = [path for child in children for path in self._paths(child)]
            branching = []
        # The row to keep comes last: by then all other cells are free again.
        lines.sort(key=lambda line: self._ends_kept(line[-1]))
        branching.sort(key=self._holds_kept)
        if lines and self._ends_kept(lines[-1][-1]):
            self._branch(branching, parent)
            self._run(lines, parent)
        else:
            self._run(lines, parent)
            self._branch(branching, parent)

    def _branch(self, nodes: Sequence[Node], parent: int | None) -> None:
        for node in nodes:
            sequence = self._start(parent)
            self._append([(sequence, node)])
            self.below(node.children, sequence)
            self._finish(sequence, (node,), node)

    def _run(self, lines: list[tuple[Node, ...]], parent: int | None) -> None:
        while lines:
            chunk = lines[: self._fitting(lines)]
            lines = lines[len(chunk) :]
            started = [(self._start(parent), line) for line in chunk]
            for depth in range(max(len(line) for line in chunk)):
                self._append([(s, line[depth]) for s, line in started if depth < len(line)])
            for sequence, line in started:
                self._finish(sequence, line, line[-1])

    def _fitting(self, lines: Sequence[tuple[Node, ...]]) -> int:
        """How many of the first lines can be decoded side by side, at least one."""
        sequences, cells = self._sequences - len(self.open), self._room
        for n, line in enumerate(lines):
            cells -= sum(node.n_cells for node in line)
            if n == sequences or cells < 0:
                return max(1, n)
        return len(lines)

    def _start(self, parent: int | None) -> int:
        backend = self._backend
        sequence = backend.open_sequence() if parent is None else backend.fork(parent)
        self.open.add(sequence)
        return sequence

    def _append(self, additions: Sequence[tuple[int, Node]]) -> None:
        if self._cancel is not None and self._cancel.cancelled:
            raise Cancelled
        wanted = [bool(self._done.isdisjoint(node.rows) and node.rows) for _, node in additions]
        appends = [
            Append(sequence, node.spans, logits)
            for (sequence, node), logits in zip(additions, wanted, strict=True)
        ]
        results = self._backend.append(appends, self._cancel)
        n_new = sum(node.n_cells for _, node in additions)
        self.cells += n_new
        self._room -= n_new
        for (_, node), logits in zip(additions, results, strict=True):
            if logits is not None:
                self._done.update(node.rows)
                for row in node.rows:
                    self._read(row, logits)

    def _finish(self, sequence: int, held: tuple[Node, ...], last: Node) -> None:
        if self._ends_kept(last):
            self.kept = sequence
            return
        self._backend.close_sequence(sequence)
        self.open.remove(sequence)
        self._room += sum(node.n_cells for node in held)

    def _ends_kept(self, node: Node) -> bool:
        return self._keep in node.rows

    def _holds_kept(self, node: Node) -> bool:
        return self._ends_kept(node) or any(self._holds_kept(child) for child in node.children)

    def _is_line(self, node: Node) -> bool:
        if not node.children:
            return True
        lone = len(node.children) == 1 and not self._ends_kept(node)
        return lone and self._is_line(node.children[0])

    def _paths(self, node: Node) -> Iterator[tuple[Node, ...]]:
        """The ways down to all leaves, and to the row to be kept."""
        if not node.children or self._ends_kept(node):
            yield (node,)
        for child in node.children:
            for path in self._paths(child):
                yield (node, *path)


def _line(node: Node) -> tuple[Node, ...]:
    return (node, *_line(node.children[0])) if node.children else (node,)
