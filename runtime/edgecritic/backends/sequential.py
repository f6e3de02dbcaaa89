"""The `Backend` Protocol for engines that have one stretch of memory.

What such an engine brings is a `Model`: embeddings of tokens, logits after a chunk of embeddings,
features of tiles. Text and pictures are the same to it, so a chunk may hold both. It computes one
sequence at a time, unless it can be told which cells see which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from edgecritic.backends.base import (
    Append,
    BackendInfo,
    Cancelled,
    CancelToken,
    FloatArray,
    Span,
    TextSpan,
    UInt8Array,
)
from edgecritic.backends.branches import Branch, DecodeBranches, side_by_side
from edgecritic.backends.cells import CellLedger
from edgecritic.backends.checks import check_appends, check_token
from edgecritic.backends.chunk import Chunk
from edgecritic.backends.positions import span_positions
from edgecritic.backends.tokens import JsonTokenizer
from edgecritic.backends.workbench import Stretch, Workbench
from edgecritic.errors import BackendUnavailableError

Copy = TypeVar("Copy")
_Begun: TypeAlias = tuple[Append, int]
"""What is appended, and the position that it begins at."""


class Model(Protocol[Copy]):
    """An engine that has loaded its files."""

    @property
    def memory(self) -> Stretch[Copy]:
        """Where `decode` keeps keys and values."""
        ...

    def embed(self, tokens: Sequence[int]) -> FloatArray:
        """(n, n_embd) float32 embeddings of n >= 1 tokens."""
        ...

    def decode(self, chunk: Chunk, start: int, cancel: CancelToken | None) -> FloatArray:
        """Compute cells from `start` on; everything before them lies in memory.

        Args:
            chunk: at least one cell.
            start: cells in front of it.
            cancel: may stop the computation.

        Returns:
            (n_vocab,) float32 logits after the last cell, the caller's to keep.

        Raises:
            Cancelled: `cancel` was set.
            BackendUnavailableError: the engine failed.
        """
        ...

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """See `Backend.encode_tiles`."""
        ...


@dataclass(slots=True)
class _Loaded(Generic[Copy]):
    """What `close` lets go."""

    model: Model[Copy]
    tokenizer: JsonTokenizer
    sequences: Workbench[Copy]
    decode_branches: DecodeBranches | None


class SequentialBackend(Generic[Copy]):
    """A critic on an engine with room for `n_ctx` cells.

    Args:
        model: the engine.
        tokenizer: of its language model.
        info: what is loaded.
        n_batch: cells computed at once; also how often it is asked to stop.
        decode_branches: computes cells of several sequences at once, where the engine can.
    """

    def __init__(
        self,
        model: Model[Copy],
        tokenizer: JsonTokenizer,
        info: BackendInfo,
        n_batch: int,
        decode_branches: DecodeBranches | None = None,
    ) -> None:
        self._loaded: _Loaded[Copy] | None = _Loaded(
            model, tokenizer, Workbench(model.memory, info.n_ctx), decode_branches
        )
        self._info = info
        self._n_batch = n_batch
        self._cells = CellLedger(info.n_ctx, info.max_sequences)

    @property
    def info(self) -> BackendInfo:
        """What is loaded."""
        return self._info

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """Token ids of `text`; see `Backend.tokenize`."""
        return self._require_open().tokenizer.encode(text, control=control)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; see `Backend.token_bytes`."""
        loaded = self._require_open()
        check_token(token, self._info.n_vocab)
        return loaded.tokenizer.bytes_of(token)

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """Vision tower and projector; see `Backend.encode_tiles`."""
        return self._require_open().model.encode_tiles(tiles)

    def open_sequence(self) -> int:
        """A new, empty sequence."""
        loaded = self._require_open()
        sequence = self._cells.open()
        loaded.sequences.open(sequence)
        return sequence

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence that shares the first cells of `sequence`; see `Backend.fork`."""
        loaded = self._require_open()
        copy = self._cells.fork(sequence, length)
        loaded.sequences.fork(sequence, copy, self._cells.length(copy))
        return copy

    def close_sequence(self, sequence: int) -> None:
        """Drop a sequence."""
        loaded = self._require_open()
        self._cells.close(sequence)
        loaded.sequences.close(sequence)

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        """Decode appends, short ones at once where the engine can; see `Backend.append`."""
        loaded = self._require_open()
        check_appends(appends, self._info)
        begun = [(append, self._cells.position(append.sequence)) for append in appends]
        self._cells.reserve(appends)
        at_once = 0 if loaded.decode_branches is None else self._n_batch
        return [
            row
            for group in _grouped(begun, at_once)
            for row in self._together(loaded, group, cancel)
            or [self._append(loaded, *one, cancel) for one in group]
        ]

    def length(self, sequence: int) -> int:
        """Cells that the sequence holds."""
        return self._cells.length(sequence)

    @property
    def free_cells(self) -> int:
        """Cells that no sequence holds."""
        return self._cells.n_free

    def close(self) -> None:
        """Free everything. Idempotent."""
        self._loaded = None

    def _require_open(self) -> _Loaded[Copy]:
        if self._loaded is None:
            raise BackendUnavailableError("this backend is closed", "load the critic again")
        return self._loaded

    def _together(
        self, loaded: _Loaded[Copy], group: Sequence[_Begun], cancel: CancelToken | None
    ) -> list[FloatArray | None] | None:
        """Decode several appends at once; None if each has to be decoded by itself.

        So it is where nothing lies in front of them, where memory ends, and where something is no
        number: as an attention's weight, 0 does not hide such a cell from the others.
        """
        if len(group) == 1 or loaded.decode_branches is None:
            return None
        if cancel is not None and cancel.cancelled:
            raise Cancelled
        sequences = [append.sequence for append, _ in group]
        try:
            start = loaded.sequences.lay(*sequences, room=sum(len(append) for append, _ in group))
            if not start:
                return None
            branches, slots = side_by_side(self._branches(loaded, group), start)
            rows = loaded.decode_branches(branches, start, cancel)
        except (BackendUnavailableError, MemoryError):
            return None
        if not np.isfinite(rows).all():
            return None
        for sequence, own in zip(sequences, slots, strict=True):
            loaded.sequences.extend(sequence, own)
        found = iter(rows)
        return [next(found).copy() if append.logits else None for append, _ in group]

    def _branches(self, loaded: _Loaded[Copy], group: Sequence[_Begun]) -> list[Branch]:
        return [
            Branch(chunk, loaded.sequences.slots(append.sequence), append.logits)
            for append, position in group
            for chunk in self._chunks(loaded.model, append.spans, position)
        ]

    def _append(
        self, loaded: _Loaded[Copy], append: Append, position: int, cancel: CancelToken | None
    ) -> FloatArray | None:
        logits = None
        start = loaded.sequences.lay(append.sequence) if len(append) else 0
        for chunk in self._chunks(loaded.model, append.spans, position):
            if cancel is not None and cancel.cancelled:
                raise Cancelled
            logits = loaded.model.decode(chunk, start, cancel)
            loaded.sequences.extend(append.sequence, np.arange(start, start + len(chunk)))
            start += len(chunk)
        return logits if append.logits else None

    def _chunks(self, model: Model[Copy], spans: Sequence[Span], position: int) -> Iterator[Chunk]:
        """What fills `n_batch` cells at a time; the last chunk may fill fewer."""
        gathered: list[Chunk] = []
        room = self._n_batch
        for span in spans:
            if not len(span):
                continue
            values = model.embed(span.tokens) if isinstance(span, TextSpan) else span.features
            rest = Chunk(values, span_positions(span, position))
            position += span.n_positions
            while len(rest):
                gathered.append(rest.cells(0, room))
                room -= len(gathered[-1])
                rest = rest.cells(len(gathered[-1]), len(rest))
                if not room:
                    yield Chunk.joined(gathered)
                    gathered, room = [], self._n_batch
        if gathered:
            yield Chunk.joined(gathered)


def _grouped(appends: Sequence[_Begun], n_cells: int) -> list[list[_Begun]]:
    """Neighbours that have so many cells together, and none of them without any."""
    groups: list[list[_Begun]] = []
    room = 0
    for append, position in appends:
        if len(append) and len(append) <= room:
            groups[-1].append((append, position))
        else:
            groups.append([(append, position)])
            room = n_cells if len(append) else 0
        room -= len(append)
    return groups
