"""One pass of llama.cpp over rows of text and image features, with the logits of every position.

The runtime's backend gives the logits behind a row only. Calibrating and comparing models needs
all positions: to sum up what drives the last layer, too, and to see where two models part.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from edgecritic.backends.base import FloatArray, Span, TextSpan
from edgecritic.backends.llamacpp.artifacts import check_language_model
from edgecritic.backends.llamacpp.native import Native, load_native
from edgecritic.backends.positions import PositionArray, span_positions
from edgecritic.backends.threads import default_threads
from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError
from edgecritic_export.gguf.activations import ActivationTap

_ALL_LAYERS: Final = -1


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """Settings of the engine.

    Attributes:
        n_ctx: longest row, in tokens.
        n_batch: positions computed at once; their logits are held.
        n_threads: the physical cores when left out.
        use_gpu: whether a GPU may be used.
    """

    n_ctx: int = 4096
    n_batch: int = 512
    n_threads: int | None = None
    use_gpu: bool = True


class ForwardPass:
    """An open language model.

    Args:
        model: GGUF of architecture llama, qwen2 or qwen2vl.
        options: of the engine.
        tap: watches the inputs of matrices.

    Raises:
        ArtifactError: the model cannot be opened.
        BackendUnavailableError: there is no memory for the context.
        MissingExtraError: llama-cpp-python is not installed.
    """

    def __init__(
        self,
        model: Path,
        options: ForwardOptions | None = None,
        *,
        tap: ActivationTap | None = None,
    ) -> None:
        self._options = options or ForwardOptions()
        self._facts = check_language_model(model)
        self._native = load_native()
        self._tap = tap
        # Kept as an attribute: C calls it as long as the context lives.
        self._callback: Any = None if tap is None else tap.bind(self._native)
        self._model: int | None = None
        self._context: int | None = None
        try:
            self._open(model)
        except BaseException:
            self.close()
            raise

    def logits(self, row: Sequence[Span]) -> Iterator[FloatArray]:
        """Decode a row from an empty cache.

        Args:
            row: text and image features.

        Yields:
            (n, n_vocab) float32 for the next n positions, in the engine's own memory: they are
            gone with the next step.

        Raises:
            InputError: the row is longer than the context, or features have another width.
            BackendUnavailableError: the engine failed.
        """
        llama = self._native.llama
        self._check(row)
        memory = llama.llama_get_memory(self._context)
        llama.llama_memory_clear(memory, True)
        for piece, positions in _pieces(row, self._options.n_batch):
            self._decode(piece, positions)
            found = llama.llama_get_logits(self._context)
            yield np.ctypeslib.as_array(found, shape=(len(piece), self._facts.n_vocab))

    def close(self) -> None:
        """Free the model. Idempotent."""
        if self._context:
            self._native.llama.llama_free(self._context)
            self._context = None
        if self._model:
            self._native.llama.llama_model_free(self._model)
            self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, path: Path) -> None:
        native, llama, options = self._native, self._native.llama, self._options
        use_gpu = options.use_gpu and bool(llama.llama_supports_gpu_offload())
        model_params = llama.llama_model_default_params()
        model_params.n_gpu_layers = _ALL_LAYERS if use_gpu else 0
        native.log.forget()
        self._model = llama.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise ArtifactError(
                f"llama.cpp does not open {path}: {native.log.complaint()}", "export it again"
            )
        params = llama.llama_context_default_params()
        params.n_ctx = options.n_ctx
        params.n_batch = params.n_ubatch = min(options.n_batch, options.n_ctx)
        params.n_threads = params.n_threads_batch = options.n_threads or default_threads()
        params.offload_kqv = params.op_offload = use_gpu
        params.no_perf = True
        if self._callback is not None:
            params.cb_eval = self._callback
        self._context = llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise BackendUnavailableError(
                f"llama.cpp cannot open a context of {options.n_ctx} tokens: "
                f"{native.log.complaint()}",
                "lower n_ctx",
            )

    def _check(self, row: Sequence[Span]) -> None:
        length = sum(map(len, row))
        if not 0 < length <= self._options.n_ctx:
            raise InputError(
                f"a row has {length} positions, the context {self._options.n_ctx}",
                "raise n_ctx, or use smaller pictures",
            )
        for span in row:
            if not isinstance(span, TextSpan) and span.features.shape[1] != self._facts.n_embd:
                raise InputError(
                    f"features of {span.key} have width {span.features.shape[1]}, "
                    f"the model {self._facts.n_embd}",
                    "encode the pictures with this critic's vision tower",
                )

    def _decode(self, piece: np.ndarray[Any, Any], positions: PositionArray) -> None:
        # Features of a model whose positions have rows and columns are told all axes.
        every_axis = self._facts.grid_positions and piece.ndim == 2
        told = np.pad(positions, ((0, 1), (0, 0))) if every_axis else positions[:1]
        batch = _batch(self._native, piece, np.ascontiguousarray(told))
        status = self._native.llama.llama_decode(self._context, batch)
        if self._tap is not None:
            self._tap.raise_error()
        if status != 0:
            raise BackendUnavailableError(
                f"llama_decode returned {status} for {len(piece)} positions: "
                f"{self._native.log.complaint()}",
                "lower n_batch; on a GPU, free some of its memory",
            )


def _pieces(
    row: Sequence[Span], n_batch: int
) -> Iterator[tuple[np.ndarray[Any, Any], PositionArray]]:
    """(n,) token ids or (n, n_embd) features, at most a batch of them, and their positions."""
    position = 0
    for span in row:
        whole = (
            np.asarray(span.tokens, dtype=np.int32)
            if isinstance(span, TextSpan)
            else np.ascontiguousarray(span.features, dtype=np.float32)
        )
        positions = span_positions(span, position)
        position += span.n_positions
        for start in range(0, len(whole), n_batch):
            part = slice(start, start + n_batch)
            yield whole[part], positions[:, part]


class _Rows:
    """The arrays that a llama_batch points into."""

    def __init__(self, count: int, positions: PositionArray) -> None:
        self.positions = positions  # by axis
        self.n_sequences = np.ones(count, dtype=np.int32)
        self.sequence = np.zeros(1, dtype=np.int32)
        # seq_id is an array of pointers; all rows share one list, which names sequence 0.
        self.sequences = np.full(count, self.sequence.ctypes.data, dtype=np.uintp)
        self.wanted = np.ones(count, dtype=np.int8)


def _batch(native: Native, piece: np.ndarray[Any, Any], positions: PositionArray) -> Any:
    rows = _Rows(len(piece), positions)
    int32 = ctypes.POINTER(ctypes.c_int32)
    features = piece.ndim == 2
    batch = native.llama.llama_batch(
        n_tokens=len(piece),
        token=None if features else piece.ctypes.data_as(int32),
        embd=piece.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) if features else None,
        pos=rows.positions.ctypes.data_as(int32),
        n_seq_id=rows.n_sequences.ctypes.data_as(int32),
        seq_id=rows.sequences.ctypes.data_as(ctypes.POINTER(int32)),
        logits=rows.wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
    )
    batch.rows = rows  # as long as the batch
    return batch
