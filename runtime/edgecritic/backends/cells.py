"""Who holds which KV cells: the bookkeeping of sequences that share prefixes.

An engine with a unified KV cache stores a shared cell once, whatever number of sequences hold it.
The ledger mirrors that exactly, so that a request which does not fit is refused before anything is
decoded. A sequence is a list of blocks; a fork shares the blocks of its origin; a block grows only
while one sequence holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgecritic.backends.base import Append
from edgecritic.errors import ContextOverflowError, InputError


@dataclass(slots=True, eq=False)
class _Block:
    """Consecutive cells that the same sequences hold.

    Attributes:
        runs: (cells, positions) of its text and pictures, in order; neighbouring text is one run.
        holders: how many sequences hold it.
    """

    runs: list[tuple[int, int]]
    holders: int

    @property
    def cells(self) -> int:
        return sum(cells for cells, _ in self.runs)

    @property
    def positions(self) -> int:
        return sum(positions for _, positions in self.runs)

    def grow(self, runs: Iterable[tuple[int, int]]) -> None:
        for cells, positions in runs:
            last = self.runs[-1] if self.runs else None
            if last is not None and cells == positions and last[0] == last[1]:
                self.runs[-1] = (last[0] + cells, last[1] + positions)
            elif cells:
                self.runs.append((cells, positions))

    def cut(self, at: int) -> _Block:
        """Keep the first `at` cells; the rest as a block with the same holders."""
        before: list[tuple[int, int]] = []
        after = deque(self.runs)
        while at:
            cells, positions = after.popleft()
            taken = min(cells, at)
            if taken < cells and cells != positions:
                raise InputError(
                    f"a fork ends {taken} cells inside a picture of {cells} cells in a grid",
                    "fork in front of the picture or behind it",
                )
            if taken < cells:
                after.appendleft((cells - taken, positions - taken))
                positions = taken
            before.append((taken, positions))
            at -= taken
        self.runs = before
        return _Block(list(after), self.holders)


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

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence that shares the first `length` cells of `sequence`, or all of them.

        Raises:
            InputError: `sequence` is not open or shorter, there is no free id, or the fork would
                end inside a picture that has rows and columns.
        """
        whole = self.length(sequence)
        length = whole if length is None else length
        if not 0 <= length <= whole:
            raise InputError(
                f"sequence {sequence} has {whole} cells, not {length} to fork",
                "fork at most as many as it has",
            )
        shared = self._first(sequence, length)
        copy = self.open()
        for block in shared:
            block.holders += 1
        self._blocks[copy] = shared
        return copy

    def _first(self, sequence: int, length: int) -> list[_Block]:
        """The blocks that hold exactly the first cells; one is cut where they end inside it."""
        blocks, shared = self._of(sequence), []
        for block in blocks:
            if not length:
                break
            if block.cells > length:
                rest = block.cut(length)
                for held in self._blocks.values():
                    if block in held:
                        held.insert(held.index(block) + 1, rest)
            shared.append(block)
            length -= block.cells
        return shared

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
        needed = 0
        for append in appends:
            self._of(append.sequence)
            if append.sequence in seen:
                raise InputError(
                    f"sequence {append.sequence} is appended to twice at once",
                    "put all its spans into one Append",
                )
            size = len(append)
            if append.logits and size == 0:
                raise InputError(
                    f"logits are asked of an empty append to sequence {append.sequence}",
                    "append at least one token",
                )
            seen.add(append.sequence)
            needed += size
        if needed > self.n_free:
            raise ContextOverflowError(
                f"{needed} more tokens are needed and {self.n_free} of {self._n_cells} are free",
                "shorten the request, use fewer image tiles, or raise EngineOptions.n_ctx",
            )
        for append in appends:
            self._grow(append)

    def _grow(self, append: Append) -> None:
        size = len(append)
        if not size:
            return
        blocks = self._blocks[append.sequence]
        if not blocks or blocks[-1].holders > 1:
            blocks.append(_Block([], 1))
        blocks[-1].grow((len(span), span.n_positions) for span in append.spans)
        self._used += size

    def _of(self, sequence: int) -> list[_Block]:
        blocks = self._blocks.get(sequence)
        if blocks is None:
            raise InputError(f"sequence {sequence} is not open", "open or fork it first")
        return blocks
