"""The `Backend` Protocol for engines that compute one sequence at a time.

What such an engine brings is a `Model`: embeddings of tokens, logits after a chunk of embeddings,
features of tiles. Text and pictures are the same to it, so a chunk may hold both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
from edgecritic.backends.cells import CellLedger
from edgecritic.backends.checks import check_appends, check_token
from edgecritic.backends.tokens import JsonTokenizer
from edgecritic.backends.workbench import Stretch, Workbench
from edgecritic.errors import BackendUnavailableError

Copy = TypeVar("Copy")


class Model(Protocol[Copy]):
    """An engine that has loaded its files."""

    @property
    def memory(self) -> Stretch[Copy]:
        """Where `decode` keeps keys and values."""
        ...

    def embed(self, tokens: Sequence[int]) -> FloatArray:
        """(n, n_embd) float32 embeddings of n >= 1 tokens."""
        ...

    def decode(self, chunk: FloatArray, start: int, cancel: CancelToken | None) -> FloatArray:
        """Compute positions from `start` on; everything before them lies in memory.

        Args:
            chunk: (n, n_embd) float32, n >= 1.
            start: the first one's position.
            cancel: may stop the computation.

        Returns:
            (n_vocab,) float32 logits after the last position, the caller's to keep.

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


class SequentialBackend(Generic[Copy]):
    """A critic on an engine with room for one sequence of `n_ctx` positions.

    Args:
        model: the engine.
        tokenizer: of its language model.
        info: what is loaded.
        n_batch: positions computed at once; also how often it is asked to stop.
    """

    def __init__(
        self, model: Model[Copy], tokenizer: JsonTokenizer, info: BackendInfo, n_batch: int
    ) -> None:
        self._loaded: _Loaded[Copy] | None = _Loaded(model, tokenizer, Workbench(model.memory))
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

    def fork(self, sequence: int) -> int:
        """A new sequence that shares all positions of `sequence`."""
        loaded = self._require_open()
        copy = self._cells.fork(sequence)
        loaded.sequences.fork(sequence, copy)
        return copy

    def close_sequence(self, sequence: int) -> None:
        """Drop a sequence."""
        loaded = self._require_open()
        self._cells.close(sequence)
        loaded.sequences.close(sequence)

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        """Decode appends, one behind the other; see `Backend.append`."""
        loaded = self._require_open()
        check_appends(appends, n_vocab=self._info.n_vocab, n_embd=self._info.n_embd)
        self._cells.reserve(appends)
        return [self._append(loaded, append, cancel) for append in appends]

    def length(self, sequence: int) -> int:
        """Positions that the sequence holds."""
        return self._cells.length(sequence)

    def close(self) -> None:
        """Free everything. Idempotent."""
        self._loaded = None

    def _require_open(self) -> _Loaded[Copy]:
        if self._loaded is None:
            raise BackendUnavailableError("this backend is closed", "load the critic again")
        return self._loaded

    def _append(
        self, loaded: _Loaded[Copy], append: Append, cancel: CancelToken | None
    ) -> FloatArray | None:
        logits = None
        start = loaded.sequences.lay(append.sequence) if len(append) else 0
        for chunk in self._chunks(loaded.model, append.spans):
            if cancel is not None and cancel.cancelled:
                raise Cancelled
            logits = loaded.model.decode(chunk, start, cancel)
            loaded.sequences.extend(append.sequence, len(chunk))
            start += len(chunk)
        return logits if append.logits else None

    def _chunks(self, model: Model[Copy], spans: Sequence[Span]) -> Iterator[FloatArray]:
        """Embeddings of `n_batch` positions at a time; the last chunk may have fewer."""
        gathered: list[FloatArray] = []
        room = self._n_batch
        for span in spans:
            if not len(span):
                continue
            rest = model.embed(span.tokens) if isinstance(span, TextSpan) else span.features
            while len(rest):
                gathered.append(rest[:room])
                room -= len(gathered[-1])
                rest = rest[len(gathered[-1]) :]
                if not room:
                    yield np.concatenate(gathered)
                    gathered, room = [], self._n_batch
        if gathered:
            yield np.concatenate(gathered)
