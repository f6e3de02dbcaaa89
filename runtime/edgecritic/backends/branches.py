"""Cells of several sequences, computed at once by an engine that has one stretch of memory.

They are computed as one row of a batch, behind everything that lies on the stretch. Each has the
position that it has in its own sequence, and a bias hides from it what is another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from edgecritic.backends.base import CancelToken, FloatArray
from edgecritic.backends.chunk import Chunk
from edgecritic.backends.workbench import Slots

HIDDEN: Final = -1e9
"""Added to a score, it makes the probability exactly 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """What is appended to one sequence.

    Attributes:
        chunk: its new cells.
        seen: where the cells before them lie.
        logits: they are wanted after the last cell.
    """

    chunk: Chunk
    seen: Slots
    logits: bool


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """What is computed at once.

    Attributes:
        chunk: cells of all sequences.
        bias: (cells, slots up to the last one) float32, added to the scores of attention.
        n_logits: logits are wanted after so many last cells.
    """

    chunk: Chunk
    bias: FloatArray
    n_logits: int


DecodeBranches: TypeAlias = Callable[[Branches, int, CancelToken | None], FloatArray]
"""Computes branches in the slots from a number on; gives (n_logits, n_vocab) float32.

As `edgecritic.backends.sequential.Model.decode`, it raises `Cancelled` and
`BackendUnavailableError`.
"""


def side_by_side(branches: Sequence[Branch], start: int) -> tuple[Branches, list[Slots]]:
    """Order the cells of branches so that those with logits are the last ones.

    Args:
        branches: none of them without cells.
        start: the slot of the first cell.

    Returns:
        What to compute, with the logits in the order of the branches that want them; and where
        the cells of each branch will lie. Without any such branch there are logits of the last
        cell: cells that are no numbers spoil those behind them, which shows in it.
    """
    lengths = [len(branch.chunk) for branch in branches]
    n_cells, n_logits = sum(lengths), sum(branch.logits for branch in branches)
    body, last = start, start + n_cells - n_logits
    parts: list[Chunk] = []
    lasts: list[Chunk] = []
    slots: list[Slots] = []
    for branch, length in zip(branches, lengths, strict=True):
        n_body = length - branch.logits
        parts.append(branch.chunk.cells(0, n_body))
        lasts.append(branch.chunk.cells(n_body, length))
        own = np.arange(body, body + n_body)
        slots.append(np.append(own, last) if branch.logits else own)
        body, last = body + n_body, last + branch.logits
    bias = np.full((n_cells, start + n_cells), HIDDEN, dtype=np.float32)
    for branch, own in zip(branches, slots, strict=True):
        rows = own[:, None] - start
        bias[rows, branch.seen] = 0
        bias[rows, own] = 0  # the attention itself hides what lies behind a cell
    return Branches(Chunk.joined([*parts, *lasts]), bias, max(1, n_logits)), slots
