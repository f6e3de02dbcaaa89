"""Appends to several sequences, cut into the batches that llama_decode takes.

A batch holds token ids or embeddings, never both, so text and images alternate: all text that can
be decoded now goes into shared batches, then all images that became reachable, and so on. Images
are decoded with causal attention, at consecutive positions (LLaVA) or in rows and columns
(Qwen2.5-VL).
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import (
    Append,
    BackendInfo,
    Cancelled,
    CancelToken,
    FloatArray,
    TextSpan,
)
from edgecritic.backends.llamacpp.native import Native
from edgecritic.backends.positions import AXES, PositionArray, span_positions
from edgecritic.errors import BackendUnavailableError

_ABORTED: Final = 2  # llama_decode's return value
_GRID_AXES: Final = 4  # M-RoPE's in llama.cpp; the fourth is 0 for text and pictures
_INT32: Final = ctypes.POINTER(ctypes.c_int32)
_FLOAT32: Final = ctypes.POINTER(ctypes.c_float)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Cells of one kind.

    Attributes:
        values: (n,) token ids or (n, n_embd) features.
        positions: (3, n).
    """

    values: NDArray[np.int32] | FloatArray
    positions: PositionArray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class _Pending:
    """What remains of one append."""

    index: int
    sequence: int
    pieces: deque[_Piece]
    logits: bool

    def holds(self, *, features: bool) -> bool:
        return bool(self.pieces) and (self.pieces[0].values.ndim == 2) is features


class Decoder:
    """Runs appends on one llama_context.

    Args:
        native: the library.
        context: the llama_context pointer, which must outlive this object.
        n_batch: cells in one call.
        info: of the model.
    """

    def __init__(self, native: Native, context: int, *, n_batch: int, info: BackendInfo) -> None:
        self._native = native
        self._context = context
        self._row = ctypes.c_float * info.n_vocab
        self._batch = _Batch(native, n_batch, info.n_embd, grid=info.grid_positions)
        self._stop = _StopFlag(native)
        native.llama.llama_set_abort_callback(context, self._stop.callback, self._stop.address)

    def run(
        self, appends: Sequence[Append], positions: Sequence[int], cancel: CancelToken | None
    ) -> list[FloatArray | None]:
        """Decode appends that have passed `check_appends`.

        Args:
            appends: what to decode; each names another sequence.
            positions: where each append begins.
            cancel: asked before each batch, and within the large ones.

        Returns:
            For each append the (n_vocab,) float32 logits after its last cell, or None.

        Raises:
            Cancelled: `cancel` was set; part of the appends is decoded.
            BackendUnavailableError: the engine failed.
        """
        results: list[FloatArray | None] = [None] * len(appends)
        self._stop.clear()
        cancel = cancel or CancelToken()
        with cancel.telling(self._stop.set):
            for features, rows in self._batches(appends, positions):
                if cancel.cancelled:
                    raise Cancelled
                self._decode(features=features)
                self._collect(rows, results)
        return results

    def _batches(
        self, appends: Sequence[Append], positions: Sequence[int]
    ) -> Iterator[tuple[bool, list[tuple[int, int]]]]:
        """Fill the batch as often as it takes: whether with features, and what `fill` returns."""
        if ended := self._batch.fill_single(appends, positions):
            yield False, ended
            return
        pending = [
            _Pending(index, append.sequence, _pieces(append, position), append.logits)
            for index, (append, position) in enumerate(zip(appends, positions, strict=True))
        ]
        while any(item.pieces for item in pending):
            for features in (False, True):
                while rows := self._batch.fill(pending, features=features):
                    yield features, rows

    def _decode(self, *, features: bool) -> None:
        self._native.log.forget()
        status = self._native.llama.llama_decode(
            self._context, self._batch.native(features=features)
        )
        if status == _ABORTED:
            raise Cancelled
        if status != 0:
            raise BackendUnavailableError(
                f"llama_decode returned {status} for a batch of {self._batch.n_rows}: "
                f"{self._native.log.complaint()}",
                "load the critic again; on a GPU, free some of its memory",
            )

    def _collect(self, rows: list[tuple[int, int]], results: list[FloatArray | None]) -> None:
        for row, index in rows:
            if row < 0:
                continue
            logits = self._native.llama.llama_get_logits_ith(self._context, row)
            if not logits:
                raise BackendUnavailableError(
                    f"llama.cpp gave no logits for row {row}", "load the critic again"
                )
            lent: Any = self._row.from_address(ctypes.addressof(logits.contents))
            # A copy: the engine reuses the memory in the next batch.
            results[index] = np.frombuffer(lent, dtype=np.float32).copy()


class _StopFlag:
    """A byte that llama.cpp looks at after every node of its graph, to stop if it is set.

    The callback is C's own `strlen`, which is 0 for a byte of 0 and 1 for a byte followed by 0. A
    Python function in its place would wait for the interpreter's lock each time, thousands of
    times a batch, while other threads of the process compute; and an interrupt that is delivered
    inside of it would be lost.
    """

    def __init__(self, native: Native) -> None:
        self._byte = ctypes.create_string_buffer(2)
        library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        function = ctypes.cast(library.strlen, ctypes.c_void_p).value
        self.address = ctypes.cast(self._byte, ctypes.c_void_p)
        self.callback: Any = native.llama.ggml_abort_callback(function)

    def set(self) -> None:
        """Stop what is computed."""
        self._byte[0] = b"\1"

    def clear(self) -> None:
        """Let the next computation begin."""
        self._byte[0] = b"\0"


class _Batch:
    """The memory of a llama_batch, owned by numpy."""

    def __init__(self, native: Native, n_batch: int, n_embd: int, *, grid: bool) -> None:
        self._llama = native.llama
        self._capacity = n_batch
        self._grid = grid
        self.n_rows = 0
        self._tokens = np.zeros(n_batch, dtype=np.int32)
        self._features = np.zeros((n_batch, n_embd), dtype=np.float32)
        self._positions = np.zeros((_GRID_AXES, n_batch), dtype=np.int32)
        self._by_axis = np.zeros(0, dtype=np.int32)
        self._n_sequences = np.ones(n_batch, dtype=np.int32)
        self._sequences = np.zeros(n_batch, dtype=np.int32)
        # seq_id is an array of pointers, one to each row's list of sequences (of length 1).
        self._sequence_lists = (
            self._sequences.ctypes.data + np.arange(n_batch, dtype=np.uintp) * 4
        ).astype(np.uintp)
        self._logits = np.zeros(n_batch, dtype=np.int8)
        self._of_tokens = self._structure(features=False)
        self._of_features = self._structure(features=True)

    def fill(self, pending: Sequence[_Pending], *, features: bool) -> list[tuple[int, int]]:
        """Move as much as fits from `pending` into the batch.

        Returns:
            (row, append index) for each append that ends in this batch, row -1 where its logits
            are not asked for; plus (-1, -1) if no append ends. Empty if there was nothing to move.
        """
        self.n_rows = 0
        self._logits[:] = 0
        ended: list[tuple[int, int]] = []
        for item in pending:
            while item.holds(features=features) and self.n_rows < self._capacity:
                self._move(item, features=features)
                if not item.pieces:
                    ended.append((self.n_rows - 1 if item.logits else -1, item.index))
                    self._logits[self.n_rows - 1] = item.logits
        if self.n_rows == 0:
            return []
        return ended or [(-1, -1)]

    def fill_single(
        self, appends: Sequence[Append], positions: Sequence[int]
    ) -> list[tuple[int, int]]:
        """`fill` for appends of one token each; empty if there are others, or too many.

        Texts need it for each token, when all that is called was driven out of the processor's
        caches by the model's weights: so as little as can be is called.
        """
        if len(appends) > self._capacity:
            return []
        ended: list[tuple[int, int]] = []
        for row, append in enumerate(appends):
            span = append.spans[0] if len(append.spans) == 1 else None
            if not isinstance(span, TextSpan) or len(span.tokens) != 1:
                return []
            self._tokens[row] = span.tokens[0]
            self._positions[0, row] = positions[row]
            self._sequences[row] = append.sequence
            self._logits[row] = append.logits
            ended.append((row if append.logits else -1, row))
        self.n_rows = len(appends)
        return ended

    def native(self, *, features: bool) -> Any:
        """The batch as llama.h's structure; it points into this object's memory."""
        batch = self._of_features if features else self._of_tokens
        batch.n_tokens = self.n_rows
        if features and self._grid:
            self._by_axis = np.ascontiguousarray(self._positions[:, : self.n_rows])
            batch.pos = self._by_axis.ctypes.data_as(_INT32)
        return batch

    def _structure(self, *, features: bool) -> Any:
        """A llama_batch over the arrays, made once: it takes a tenth of a millisecond."""
        return self._llama.llama_batch(
            n_tokens=0,
            token=None if features else self._tokens.ctypes.data_as(_INT32),
            embd=self._features.ctypes.data_as(_FLOAT32) if features else None,
            # Tokens have one position each whatever the model; features have one for each axis.
            pos=self._positions.ctypes.data_as(_INT32),
            n_seq_id=self._n_sequences.ctypes.data_as(_INT32),
            seq_id=self._sequence_lists.ctypes.data_as(ctypes.POINTER(_INT32)),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def _move(self, item: _Pending, *, features: bool) -> None:
        piece = item.pieces.popleft()
        count = min(len(piece), self._capacity - self.n_rows)
        rows = slice(self.n_rows, self.n_rows + count)
        if features:
            self._features[rows] = piece.values[:count]
        else:
            self._tokens[rows] = piece.values[:count]
        self._positions[:AXES, rows] = piece.positions[:, :count]
        self._sequences[rows] = item.sequence
        if count < len(piece):
            item.pieces.appendleft(_Piece(piece.values[count:], piece.positions[:, count:]))
        self.n_rows += count


def _pieces(append: Append, position: int) -> deque[_Piece]:
    pieces: deque[_Piece] = deque()
    for span in append.spans:
        values = (
            np.asarray(span.tokens, dtype=np.int32)
            if isinstance(span, TextSpan)
            else np.asarray(span.features, dtype=np.float32)
        )
        if len(span):
            pieces.append(_Piece(values, span_positions(span, position)))
        position += span.n_positions
    return pieces
