"""A backend without a model, for tests: its logits come from a function of the history.

It keeps sequences, cells and errors exactly as the real engines do, so that code above the
`Backend` Protocol can be tested in microseconds, and it counts what was decoded, so that tests can
assert that shared prefixes were shared and that nothing leaked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from edgecritic.backends.base import (
    Append,
    BackendInfo,
    Cancelled,
    CancelToken,
    FloatArray,
    TextSpan,
    UInt8Array,
)
from edgecritic.backends.cells import CellLedger
from edgecritic.backends.checks import check_appends, check_tiles, check_token
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import BackendUnavailableError, InputError

History: TypeAlias = tuple[int | str, ...]
"""What a sequence holds: token ids, and the key of each image once."""

Script: TypeAlias = Callable[[History], Mapping[int, float]]
"""Logits of the tokens that matter after a history; the others get `SILENCE`."""

CONTROL_TOKENS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SILENCE: Final = -30.0
_BYTES: Final = 256
_PATCHES_PER_SIDE: Final = 2


class ScriptedBackend:
    """Plays a script: each byte is one token, ids from 256 on are control tokens.

    Args:
        script: must depend on nothing but the history.
        options: `n_ctx`, `max_sequences` and `n_batch` count as in a real engine.
        n_embd: width of features.
        tile_size: side of a tile in pixels, an even number.

    Attributes:
        decoded: cells decoded so far, over all sequences.
        batches: calls of `append` that decoded something.
        tiles: tiles encoded so far.
    """

    def __init__(
        self,
        script: Script,
        *,
        options: EngineOptions | None = None,
        n_embd: int = 8,
        tile_size: int = 28,
    ) -> None:
        options = options or EngineOptions()
        self._script = script
        self._cells = CellLedger(options.n_ctx, options.max_sequences)
        self._histories: dict[int, History] = {}
        self._image_cells: dict[str, int] = {}
        self._tile_size = tile_size
        self._closed = False
        self.decoded = 0
        self.batches = 0
        self.tiles = 0
        self._info = BackendInfo(
            name="scripted",
            engine="scripted",
            device="cpu",
            n_ctx=options.n_ctx,
            n_embd=n_embd,
            n_vocab=_BYTES + len(CONTROL_TOKENS),
            max_sequences=options.max_sequences,
            end_tokens=frozenset({_BYTES, _BYTES + 2}),
            cell_bytes=1,
        )

    @property
    def info(self) -> BackendInfo:
        """What is loaded."""
        return self._info

    @property
    def open_sequences(self) -> int:
        """Sequences that were opened or forked and not closed."""
        return self._cells.n_open

    @property
    def free_cells(self) -> int:
        """Cells that no sequence holds."""
        return self._cells.n_free

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """One id for each UTF-8 byte, or for a control token with ``control=True``."""
        self._require_open()
        tokens: list[int] = []
        while text:
            name = next((name for name in CONTROL_TOKENS if control and text.startswith(name)), "")
            if name:
                tokens.append(_BYTES + CONTROL_TOKENS.index(name))
            else:
                tokens.extend(text[0].encode("utf-8", errors="replace"))
            text = text[len(name) or 1 :]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """The byte of a token; empty for control tokens."""
        check_token(token, self._info.n_vocab)
        return bytes([token]) if token < _BYTES else b""

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """Mean colour of each quarter of a tile, repeated over the width of a feature.

        Args:
            tiles: (n, S, S, 3) uint8 RGB.

        Returns:
            (n, 4, n_embd) float32.
        """
        self._require_open()
        size = self._tile_size
        check_tiles(tiles, size)
        features = []
        for tile in tiles:
            half = size // _PATCHES_PER_SIDE
            quarters = tile.reshape(_PATCHES_PER_SIDE, half, _PATCHES_PER_SIDE, half, 3)
            colours = quarters.mean(axis=(1, 3), dtype=np.float32).reshape(-1, 3) / 255
            features.append(np.resize(colours.T, (self._info.n_embd, len(colours))).T)
            self.tiles += 1
        shape = (len(tiles), _PATCHES_PER_SIDE**2, self._info.n_embd)
        return np.asarray(features, dtype=np.float32).reshape(shape)

    def open_sequence(self) -> int:
        """A new, empty sequence."""
        self._require_open()
        sequence = self._cells.open()
        self._histories[sequence] = ()
        return sequence

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence with the same history, or its first cells; never a part of an image."""
        self._require_open()
        copy = self._cells.fork(sequence, length)
        rest = self._cells.length(copy)
        history = self._histories[sequence]
        n_units = 0
        while rest > 0:
            rest -= self._n_cells(history[n_units])
            n_units += 1
        if rest:
            self.close_sequence(copy)
            raise InputError("a fork ends inside an image", "fork in front of it or behind it")
        self._histories[copy] = history[:n_units]
        return copy

    def _n_cells(self, unit: int | str) -> int:
        return self._image_cells[unit] if isinstance(unit, str) else 1

    def close_sequence(self, sequence: int) -> None:
        """Drop a sequence."""
        self._require_open()
        self._cells.close(sequence)
        self._histories.pop(sequence, None)

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        """Extend histories and play the script; see `Backend.append`."""
        self._require_open()
        check_appends(appends, self._info)
        self._cells.reserve(appends)
        rows: list[FloatArray | None] = []
        for append in appends:
            if cancel is not None and cancel.cancelled:
                raise Cancelled
            self._extend(append)
            rows.append(self._logits(append.sequence) if append.logits else None)
        self.batches += any(len(append) for append in appends)
        return rows

    def length(self, sequence: int) -> int:
        """Cells that the sequence holds."""
        return self._cells.length(sequence)

    def close(self) -> None:
        """End the play. Idempotent."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise BackendUnavailableError("this backend is closed", "load the critic again")

    def _extend(self, append: Append) -> None:
        history = self._histories[append.sequence]
        for span in append.spans:
            if isinstance(span, TextSpan):
                history += span.tokens
            else:
                history += (span.key,)
                self._image_cells[span.key] = len(span)
        self._histories[append.sequence] = history
        self.decoded += len(append)

    def _logits(self, sequence: int) -> FloatArray:
        row = np.full(self._info.n_vocab, SILENCE, dtype=np.float32)
        for token, logit in self._script(self._histories[sequence]).items():
            row[token] = logit
        return row
