"""Many prompts as one tree, so that what they share is decoded once.

A row is a prompt whose next-token logits are wanted. Rows are laid out as a radix tree, whose
nodes end where rows part or end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Final, TypeAlias

import numpy as np

from edgecritic.backends.base import ImageSpan, Span, TextSpan

Row: TypeAlias = tuple[Span, ...]
Unit: TypeAlias = int | ImageSpan
"""What a row may be split into: a token, or a picture, which is one piece."""
Units: TypeAlias = tuple[Unit, ...]
_NOTHING: Final = np.zeros((), dtype=np.float32)


@dataclass(frozen=True)
class Node:
    """Cells that its rows and the rows below share, behind those of its parent.

    Attributes:
        units: what to append to the parent's sequence; never empty.
        rows: rows that end here, by index.
        children: what follows, each child starting with another unit.
    """

    units: Units
    rows: tuple[int, ...]
    children: tuple[Node, ...]

    @cached_property
    def n_cells(self) -> int:
        """Cells of this node alone."""
        return count_cells(self.units)

    @cached_property
    def below(self) -> frozenset[int]:
        """Rows that end here or further down."""
        return frozenset(self.rows).union(*(child.below for child in self.children))

    @cached_property
    def n_leaves(self) -> int:
        """Nodes without children, here or further down."""
        return sum(child.n_leaves for child in self.children) or 1


def row_length(row: Row) -> int:
    """Cells of a row."""
    return sum(len(span) for span in row)


def units_of(row: Row) -> Units:
    """A row in pieces."""
    found: list[Unit] = []
    for span in row:
        if isinstance(span, TextSpan):
            found.extend(span.tokens)
        else:
            found.append(span)
    return tuple(found)


def spans_of(units: Sequence[Unit]) -> tuple[Span, ...]:
    """The inverse of `units_of`, neighbouring tokens in one span."""
    return tuple(_spans(units))


def count_cells(units: Sequence[Unit]) -> int:
    """Cells that units take."""
    return sum(1 if isinstance(unit, int) else len(unit) for unit in units)


def without_features(units: Units) -> Units:
    """The same units, of which pictures hold no memory: they can be compared, not decoded."""
    return tuple(unit if isinstance(unit, int) else _emptied(unit) for unit in units)


def _emptied(picture: ImageSpan) -> ImageSpan:
    return replace(picture, features=np.broadcast_to(_NOTHING, picture.features.shape))


def common_length(known: Units, start: int, units: Units) -> int:
    """How many of `units` stand in `known` from `start` on."""
    known = known[start : start + len(units)]
    if known == units[: len(known)]:
        return len(known)
    low, high = 0, len(known)  # equal up to `low`, different before or at `high`
    while high - low > 1:
        middle = (low + high) // 2
        if known[low:middle] == units[low:middle]:
            low = middle
        else:
            high = middle
    return low


def build_tree(rows: Sequence[Units]) -> tuple[Node, ...]:
    """The radix tree of `rows`, as the children of an empty root.

    Raises:
        ValueError: a row is empty: there is no logits row before the first cell.
    """
    if not all(rows):
        raise ValueError("a row without tokens has no logits")
    return _branches(list(enumerate(rows)), 0)


def _branches(rows: list[tuple[int, Units]], start: int) -> tuple[Node, ...]:
    groups: dict[Unit, list[tuple[int, Units]]] = {}
    for row in rows:
        groups.setdefault(row[1][start], []).append(row)
    return tuple(_node(group, start) for group in groups.values())


def _node(group: list[tuple[int, Units]], start: int) -> Node:
    first = group[0][1]
    end = min(len(units) for _, units in group)
    for _, units in group[1:]:
        end = start + common_length(units, start, first[start:end])
    return Node(
        units=first[start:end],
        rows=tuple(index for index, units in group if len(units) == end),
        children=_branches([row for row in group if len(row[1]) > end], end),
    )


def _spans(units: Sequence[Unit]) -> Iterator[Span]:
    for is_picture, run in groupby(units, key=lambda unit: isinstance(unit, ImageSpan)):
        if is_picture:
            yield from (unit for unit in run if isinstance(unit, ImageSpan))
        else:
            yield TextSpan(tuple(unit for unit in run if isinstance(unit, int)))
