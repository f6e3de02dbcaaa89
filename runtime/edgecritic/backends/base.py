"""What an engine must do for a critic: tokens and image features in, logits out.

A backend knows nothing of prompts, verdicts or rubrics. It keeps *sequences*: lists of cells in
its KV cache that can be extended, forked and dropped. Everything above (shared prefixes, level
scoring, both orders, rationales) is written once, over this Protocol.

A token and an image feature take one *cell* each. The *positions* that the model is told may be
fewer: where they have rows and columns, a picture takes as many as its longer side. Code above a
backend counts cells; a span knows its positions, and the backends keep count of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
UInt8Array: TypeAlias = NDArray[np.uint8]


class CancelToken:
    """Asks a running judgement to stop; safe to set from another thread."""

    def __init__(self) -> None:
        self._set = False
        self._lock = Lock()
        self._hooks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Ask for the stop; the judgement returns with ``status="cancelled"``."""
        with self._lock:
            self._set = True
            hooks = tuple(self._hooks)
        for hook in hooks:
            hook()

    @property
    def cancelled(self) -> bool:
        return self._set

    @contextmanager
    def telling(self, hook: Callable[[], None]) -> Iterator[None]:
        """Call `hook` once the token is set, in the thread that sets it; at once if it is already.

        For engines that are busy in code which cannot ask.
        """
        with self._lock:
            self._hooks.append(hook)
        try:
            if self.cancelled:
                hook()
            yield
        finally:
            with self._lock:
                self._hooks.remove(hook)


class Cancelled(Exception):
    """Raised by a backend that stopped because its `CancelToken` was set."""


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A run of token ids."""

    tokens: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_positions(self) -> int:
        """Positions that it takes: as many as cells."""
        return len(self)


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """The packed features of one image.

    Attributes:
        key: identifies the features: equal keys mean equal features.
        features: (n_tokens, n_embd) float32, as `edgecritic.vision.pack_features` returns them.
        grid: (rows, columns) of the features, row by row, for a language model whose positions
            have both; None where features stand in a line as tokens do.
        reduced: the picture was seen in less detail than the critic would see it in by itself.
    """

    key: str
    features: FloatArray = field(compare=False, repr=False)
    grid: tuple[int, int] | None = None
    reduced: bool = field(default=False, compare=False)

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @property
    def n_positions(self) -> int:
        """Positions that it takes: what follows stands behind the grid's last row and column."""
        return len(self) if self.grid is None else max(self.grid)


Span: TypeAlias = TextSpan | ImageSpan


@dataclass(frozen=True, slots=True)
class Append:
    """What to add at the end of one sequence; `logits` asks for the row after its last cell."""

    sequence: int
    spans: tuple[Span, ...]
    logits: bool = True

    def __len__(self) -> int:
        return sum(len(span) for span in self.spans)

    @property
    def n_positions(self) -> int:
        """Positions that its spans take."""
        return sum(span.n_positions for span in self.spans)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What judges, for reports.

    Attributes:
        name: ``"llamacpp"``, ``"remote"``, ...
        engine: engine and version, or model.
        device: ``"cpu"``, the GPU's name, or a remote host.
    """

    name: str
    engine: str
    device: str


@dataclass(frozen=True, slots=True)
class BackendInfo(EngineInfo):
    """What is loaded on this machine.

    Attributes:
        n_ctx: KV cells shared by all sequences, in tokens.
        n_embd: width of image features and token embeddings.
        n_vocab: length of a logits row.
        max_sequences: sequences that may be open at once.
        end_tokens: ids that end a generation.
        cell_bytes: keys and values of one cell.
        grid_positions: positions of pictures have rows and columns, so image spans have a grid.
    """

    n_ctx: int
    n_embd: int
    n_vocab: int
    max_sequences: int
    end_tokens: frozenset[int]
    cell_bytes: int
    grid_positions: bool = False


class Backend(Protocol):
    """One loaded critic. Not thread-safe: `Critic` calls it from one thread of its own."""

    @property
    def info(self) -> BackendInfo: ...

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """Token ids of `text`, no BOS added.

        Control tokens are recognised only with ``control=True``: without it ``"<|im_end|>"`` in
        a user's text is ten ordinary characters.
        """
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; empty for control tokens."""
        ...

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """Vision tower and projector: (n, H, W, 3) RGB to (n, features, n_embd) float32.

        A tile is what the bundle's geometry gives: a square of the tower's own size, or a whole
        picture where the tower takes any size.
        """
        ...

    def open_sequence(self) -> int:
        """A new, empty sequence."""
        ...

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence that shares cells of `sequence` without copying them.

        Args:
            sequence: what to share.
            length: how many of its first cells, all of them when left out. Where pictures have
                rows and columns, a fork may not end inside one.
        """
        ...

    def close_sequence(self, sequence: int) -> None:
        """Drop a sequence; its cells that no other sequence shares become free."""
        ...

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        """Decode several appends (to different sequences) in as few batches as possible.

        Returns:
            For each append the (n_vocab,) float32 logits after its last cell, or None where
            they were not asked for. The arrays are the caller's to keep.

        Raises:
            ContextOverflowError: more cells are needed than are free; nothing was decoded.
            Cancelled: `cancel` was set; the sequences named in `appends` must be closed.
        """
        ...

    def length(self, sequence: int) -> int:
        """Cells that the sequence holds."""
        ...

    @property
    def free_cells(self) -> int:
        """Cells that no sequence holds."""
        ...

    def close(self) -> None:
        """Free the model, the vision tower and the cache. Idempotent."""
        ...
