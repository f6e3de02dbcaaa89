"""Who holds which KV cells: the bookkeeping of sequences that share prefixes.

An engine with a unified KV cache stores a shared cell once, whatever number of sequences hold it.
The ledger mirrors that exactly, so that a request which does not fit is refused before anything is
decoded. A sequence is a list of blocks; a fork shares the blocks of its origin; a block grows only
while one sequence holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecritic.backends.base import Append
from edgecritic.errors import ContextOverflowError, InputError


@dataclass(slots=True)
class _Block:
    cells: int
    positions: int
    holders: int


class CellLedger:
    """Open sequences and the cells that they hold.

    Args:
        n_cells: cells of the cache.
        max_sequences: sequences that may be open at once.
    """

    def __init__(self, n_cells: int, max_sequences: int) -> None:
        self._n_cells = n_cells
        self._free_ids = list(range(max_sequences - 1, -1, -1))
        self._max_sequences = max_sequences
        self._blocks: dict[int, list[_Block]] = {}
        self._used = 0

    @property
    def n_free(self) -> int:
        """Cells that no sequence holds."""
        return self._n_cells - self._used

    @property
    def n_open(self) -> int:
        """Sequences that are open."""
        return len(self._blocks)

    def open(self) -> int:
        """The lowest free sequence id, now open and empty.

        Raises:
            InputError: as many sequences are open as the engine has.
        """
        if not self._free_ids:
            raise InputError(
                f"all {self._max_sequences} sequences are open",
                "close sequences, or raise EngineOptions.max_sequences",
            )
        sequence = self._free_ids.pop()
        self._blocks[sequence] = []
        return sequence

    def fork(self, sequence: int) -> int:
        """A new sequence that shares the cells of `sequence`.

        Raises:
            InputError: `sequence` is not open, or there is no free id.
        """
        blocks = self._of(sequence)
        copy = self.open()
        for block in blocks:
            block.holders += 1
        self._blocks[copy] = list(blocks)
        return copy

    def close(self, sequence: int) -> None:
        """Give up a sequence; its cells that no other one holds become free.

        Raises:
            InputError: `sequence` is not open.
        """
        for block in self._of(sequence):
            block.holders -= 1
            if block.holders == 0:
                self._used -= block.cells
        del self._blocks[sequence]
        self._free_ids.append(sequence)

    def length(self, sequence: int) -> int:
        """Cells that `sequence` holds.

        Raises:
            InputError: `sequence` is not open.
        """
        return sum(block.cells for block in self._of(sequence))

    def position(self, sequence: int) -> int:
        """The position that what is appended to `sequence` next begins at.

        Raises:
            InputError: `sequence` is not open.
        """
        return sum(block.positions for block in self._of(sequence))

    def reserve(self, appends: Sequence[Append]) -> None:
        """Take the cells that `appends` need: all of them, or none.

        Raises:
            ContextOverflowError: fewer cells are free.
            InputError: a sequence is not open or named twice, or an empty append asks for logits.
        """
        seen: set[int] = set()
        for append in appends:
            self._of(append.sequence)
            if append.sequence in seen:
                raise InputError(
                    f"sequence {append.sequence} is appended to twice at once",
                    "put all its spans into one Append",
                )
            if append.logits and len(append) == 0:
                raise InputError(
                    f"logits are asked of an empty append to sequence {append.sequence}",
                    "append at least one token",
                )
            seen.add(append.sequence)
        needed = sum(len(append) for append in appends)
        if needed > self.n_free:
            raise ContextOverflowError(
                f"{needed} more tokens are needed and {self.n_free} of {self._n_cells} are free",
                "shorten the request, use fewer image tiles, or raise EngineOptions.n_ctx",
            )
        for append in appends:
            self._grow(append.sequence, len(append), append.n_positions)

    def _grow(self, sequence: int, cells: int, positions: int) -> None:
        blocks = self._blocks[sequence]
        if blocks and blocks[-1].holders == 1:
            blocks[-1].cells += cells
            blocks[-1].positions += positions
        elif cells:
            blocks.append(_Block(cells, positions, 1))
        self._used += cells

    def _of(self, sequence: int) -> list[_Block]:
        blocks = self._blocks.get(sequence)
        if blocks is None:
            raise InputError(f"sequence {sequence} is not open", "open or fork it first")
        return blocks
