"""The functions of llama.h and mtmd.h that this engine calls, over the package inferna.

inferna is llama.cpp with prebuilt wheels and classes of its own. Here its objects take the place of
C's pointers, under the C functions' names, so everything above is written once. What it lacks is
made up for:

* libmtmd writes to standard error and cannot be told not to: its file descriptor is turned away
  meanwhile, so what another thread writes there just then is lost, too, and towers take turns.
* A context is stopped by a flag, not by a callback: a thread asks the callback meanwhile.
* A device cannot be named: `device="cpu"` offloads nothing, to which a build for GPUs adheres.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from threading import Event, Lock, Thread
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

_ABORTED, _FAILED = 2, -1  # llama_decode's return values
_GGML_LOG_LEVEL_ERROR: Final = 4
_ASK_EVERY: Final = 0.02  # seconds between two questions to an abort callback
_GPU_TYPES: Final = ("GPU", "IGPU")
_one_at_a_time: Final = Lock()  # two that turn standard error away would not both turn it back


def load() -> tuple[Llama, Mtmd, str]:
    """Functions of llama.h and of mtmd.h, and the package's version.

    Raises:
        ImportError: inferna is not installed, or does not load.
    """
    native = import_module("inferna.llama._llama_native")
    log = _Log(native)
    return Llama(native, log), Mtmd(native, log), version("inferna")


class _Log:
    """Where llama.cpp's lines go, and why a call failed, which inferna raises."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._write: Callable[[int, bytes, object], None] = lambda level, text, data: None

    def set(self, write: Callable[[int, bytes, object], None]) -> None:
        self._write = write
        self._native.set_log_callback(lambda level, text: write(level, text.encode(), None))

    def complain(self, error: Exception) -> None:
        self._write(_GGML_LOG_LEVEL_ERROR, f"{error}\n".encode(errors="replace"), None)


class _Context:
    """A LlamaContext with its batch and who may stop it."""

    def __init__(self, native: Any, context: Any) -> None:
        self.native = native
        self.opened = context
        self.batch = native.LlamaBatchExt(context)
        self.abort: Callable[[Any], bool] | None = None
        self.abort_data: Any = None
        self.adapters: list[Any] = []  # kept as long as it computes with them
        self.row: Any = None  # kept until the next one is asked for
        context.install_cancel_callback()

    def decode(self, batch: Any) -> None:
        """Fill inferna's batch, and compute it."""
        self._fill(batch)
        self.opened.cancel = False
        with self._watched():
            self.opened.process(self.native.LLAMA_PROCESS_TYPE_DECODE, self.batch)

    def _fill(self, batch: Any) -> None:
        n, target = batch.n_tokens, self.batch
        target.clear()
        n_axes = 1 if batch.token else target.n_pos_per_embd
        positions = np.ctypeslib.as_array(batch.pos, (n_axes, n)).T.tolist()
        wants_logits = np.ctypeslib.as_array(batch.logits, (n,))
        if batch.token:
            values = np.ctypeslib.as_array(batch.token, (n,)).tolist()
            add = target.add_token
        else:
            width = self.opened.model.n_embd_inp
            values = np.ctypeslib.as_array(batch.embd, (n, width))
            add = target.add_embd
        for row in range(n):
            index = add(batch.seq_id[row][0], values[row])
            target.set_pos(index, positions[row])
            if wants_logits[row]:
                target.set_output_logits(index, True)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Let the abort callback end what is computed."""
        abort, ended = self.abort, Event()
        if not abort:
            yield
            return

        def watch() -> None:
            while not ended.wait(_ASK_EVERY):
                if abort(self.abort_data):
                    self.opened.cancel = True
                    return

        watcher = Thread(target=watch, name="edgecritic-cancel", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


class _Pointers:
    """``llama_adapter_lora_p_ctypes``: multiplied by a length, it makes lists."""

    def __mul__(self, length: int) -> Callable[..., list[Any]]:
        return lambda *items: list(items)


class Llama:
    """The functions of llama.h."""

    llama_adapter_lora_p_ctypes = _Pointers()
    ggml_abort_callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)

    def __init__(self, native: Any, log: _Log) -> None:
        self._native = native
        self._log = log
        self.LLAMA_TOKEN_ATTR_CONTROL: int = native.LLAMA_TOKEN_ATTR_CONTROL
        self.LLAMA_TOKEN_ATTR_USER_DEFINED: int = native.LLAMA_TOKEN_ATTR_USER_DEFINED

    # The library.

    def llama_backend_init(self) -> None:
        self._native.llama_backend_init()
        self._native.ggml_backend_load_all()

    def llama_version(self) -> bytes:
        found: str = self._native.llama_version()
        return found.encode()

    def llama_log_callback(self, write: Callable[..., None]) -> Callable[..., None]:
        return write

    def llama_log_set(self, callback: Callable[..., None], _data: object) -> None:
        self._log.set(callback)

    def llama_supports_gpu_offload(self) -> bool:
        return bool(self._native.llama_supports_gpu_offload())

    def gpu_name(self) -> str:
        """The description of the first GPU, or ``"gpu"``."""
        devices = self._native.ggml_backend_dev_info()
        found = [str(device["description"]) for device in devices if device["type"] in _GPU_TYPES]
        return (found or ["gpu"])[0]

    # Models and their adapters. Nothing is freed by name: it goes with its last reference.

    def llama_model_default_params(self) -> SimpleNamespace:
        return SimpleNamespace()

    def llama_model_load_from_file(self, path: bytes, params: SimpleNamespace) -> Any:
        wanted = self._native.LlamaModelParams()
        for name, value in vars(params).items():
            if name != "devices":
                setattr(wanted, name, value)
        return self._made(lambda: self._native.LlamaModel(os.fsdecode(path), wanted, False))

    def llama_model_free(self, _model: Any) -> None:
        pass

    def llama_model_n_embd(self, model: Any) -> int:
        return int(model.n_embd)

    def llama_adapter_lora_init(self, model: Any, path: bytes) -> Any:
        return self._made(lambda: model.lora_adapter_init(os.fsdecode(path)))

    def llama_set_adapters_lora(
        self, context: _Context, adapters: list[Any], n: int, scales: Any
    ) -> int:
        context.opened.set_adapters_lora(adapters, [scales[index] for index in range(n)])
        context.adapters = adapters
        return 0

    # Contexts.

    def llama_context_default_params(self) -> SimpleNamespace:
        return SimpleNamespace()

    def llama_init_from_model(self, model: Any, params: SimpleNamespace) -> _Context | None:
        wanted = self._native.LlamaContextParams()
        for name, value in vars(params).items():
            setattr(wanted, name, value)

        def opened() -> _Context:
            return _Context(self._native, self._native.LlamaContext(model, wanted, False))

        made: _Context | None = self._made(opened)
        return made

    def llama_free(self, context: _Context) -> None:
        context.batch.close()
        context.opened.close()

    def llama_n_ctx(self, context: _Context) -> int:
        return int(context.opened.n_ctx)

    def llama_n_batch(self, context: _Context) -> int:
        return int(context.opened.n_batch)

    def llama_get_memory(self, context: _Context) -> _Context:
        return context

    def llama_memory_seq_cp(
        self, memory: _Context, source: int, target: int, start: int, end: int
    ) -> None:
        memory.opened.memory_seq_cp(source, target, start, end)

    def llama_memory_seq_rm(self, memory: _Context, sequence: int, start: int, end: int) -> bool:
        return bool(memory.opened.memory_seq_rm(sequence, start, end))

    # Computing.

    def llama_batch(self, **fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    def llama_set_abort_callback(self, context: _Context, callback: Any, data: Any) -> None:
        context.abort, context.abort_data = callback or None, data

    def llama_decode(self, context: _Context, batch: SimpleNamespace) -> int:
        try:
            context.decode(batch)
        except InterruptedError:
            return _ABORTED
        except (RuntimeError, ValueError) as error:
            self._log.complain(error)
            return _FAILED
        return 0

    def llama_get_logits_ith(self, context: _Context, row: int) -> Any:
        context.row = np.array(context.opened.get_logits_ith(row), dtype=np.float32)
        return context.row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    # Tokens.

    def llama_model_get_vocab(self, model: Any) -> Any:
        return model.get_vocab()

    def llama_vocab_n_tokens(self, vocab: Any) -> int:
        return int(vocab.n_vocab)

    def llama_vocab_is_eog(self, vocab: Any, token: int) -> bool:
        return bool(vocab.is_eog(token))

    def llama_vocab_get_attr(self, vocab: Any, token: int) -> int:
        return int(vocab.get_attr(token))

    def llama_vocab_get_text(self, vocab: Any, token: int) -> bytes:
        text: str = vocab.get_text(token)
        return text.encode()

    def llama_tokenize(
        self, vocab: Any, data: bytes, _n: int, tokens: Any, _capacity: int, *how: bool
    ) -> int:
        found: list[int] = vocab.tokenize(data.decode(), *how)
        tokens[: len(found)] = found
        return len(found)

    def llama_token_to_piece(
        self, vocab: Any, token: int, buffer: Any, capacity: int, *how: Any
    ) -> int:
        piece: bytes = vocab.token_to_piece_bytes(token, *how)
        if len(piece) > capacity:
            return -len(piece)
        ctypes.memmove(buffer, piece, len(piece))
        return len(piece)

    def _made(self, make: Callable[[], Any]) -> Any:
        """What C would return: nothing where it failed."""
        try:
            return make()
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            self._log.complain(error)
            return None


class _Tower:
    """A MtmdContext with what it encoded last."""

    def __init__(self, opened: Any, width: int) -> None:
        self.opened = opened
        self.width = width
        self.n_tokens = 0
        self.features: Any = None  # kept until the next picture


class Mtmd:
    """The functions of mtmd.h."""

    def __init__(self, native: Any, log: _Log) -> None:
        self._native = native
        self._log = log
        self.MTMD_INPUT_CHUNK_TYPE_IMAGE: Any = native.MtmdInputChunkType.IMAGE

    def mtmd_log_set(self, _callback: object, _data: object) -> None:
        """It cannot be set; see the module."""

    def mtmd_context_params_default(self) -> SimpleNamespace:
        return SimpleNamespace()

    def mtmd_init_from_file(
        self, path: bytes, model: Any, params: SimpleNamespace
    ) -> _Tower | None:
        wanted = self._native.MtmdContextParams(**vars(params))
        try:
            with _quiet():
                opened = self._native.MtmdContext(os.fsdecode(path), model, wanted)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            self._log.complain(error)
            return None
        return _Tower(opened, int(model.n_embd_inp))

    def mtmd_free(self, tower: _Tower) -> None:
        tower.opened.close()

    def mtmd_bitmap_init(self, width: int, height: int, pixels: Any) -> Any:
        return self._native.MtmdBitmap.create_image(
            width, height, ctypes.string_at(pixels, 3 * width * height)
        )

    def mtmd_bitmap_free(self, _bitmap: Any) -> None:
        pass

    def one_picture(self, bitmap: Any) -> list[Any]:
        """What `mtmd_tokenize_from_parts` takes for one picture without text."""
        return [bitmap]

    def mtmd_input_chunks_init(self) -> list[Any]:
        return []

    def mtmd_input_chunks_free(self, chunks: list[Any]) -> None:
        chunks.clear()

    def mtmd_tokenize_from_parts(
        self, tower: _Tower, chunks: list[Any], bitmaps: list[Any], _n: int, add_special: bool
    ) -> int:
        try:
            with _quiet():
                marker = tower.opened.media_marker
                chunks.extend(tower.opened.tokenize(marker, bitmaps, add_special, True))
        except (RuntimeError, ValueError) as error:
            self._log.complain(error)
            return 1
        return 0

    def mtmd_input_chunks_size(self, chunks: list[Any]) -> int:
        return len(chunks)

    def mtmd_input_chunks_get(self, chunks: list[Any], index: int) -> Any:
        return chunks[index]

    def mtmd_input_chunk_get_type(self, chunk: Any) -> Any:
        return chunk.type

    def mtmd_input_chunk_get_n_tokens(self, chunk: Any) -> int:
        return int(chunk.n_tokens)

    def mtmd_encode_chunk(self, tower: _Tower, chunk: Any) -> int:
        tower.n_tokens = int(chunk.n_tokens)
        try:
            with _quiet():
                return int(tower.opened.encode_chunk(chunk))
        except RuntimeError as error:
            self._log.complain(error)
            return 1

    def mtmd_get_output_embd(self, tower: _Tower) -> Any:
        found = tower.opened.get_output_embeddings(tower.n_tokens, tower.width)
        tower.features = np.array(found, dtype=np.float32)
        return tower.features.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what C writes to standard error, where there is one."""
    with _one_at_a_time:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, AttributeError, ValueError):  # a program without a console
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
