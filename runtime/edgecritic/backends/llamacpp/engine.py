"""`LlamaCppBackend`: the `Backend` Protocol over llama.cpp's C functions."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgecritic.backends.base import (
    Append,
    BackendInfo,
    CancelToken,
    FloatArray,
    UInt8Array,
)
from edgecritic.backends.cells import CellLedger
from edgecritic.backends.checks import check_appends, check_token
from edgecritic.backends.llamacpp.artifacts import (
    LanguageModelFacts,
    check_adapter,
    check_language_model,
)
from edgecritic.backends.llamacpp.decoding import Decoder
from edgecritic.backends.llamacpp.native import (
    FLASH_ATTENTION,
    Native,
    Package,
    load_native,
)
from edgecritic.backends.llamacpp.offload import NOTHING, Offload, choose_offload
from edgecritic.backends.llamacpp.projector import Projector
from edgecritic.backends.llamacpp.projector_file import check_projector
from edgecritic.backends.llamacpp.tokenizer import Tokenizer
from edgecritic.backends.options import CACHE_BYTES, EngineOptions
from edgecritic.backends.threads import default_threads
from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError

_CACHE_TYPES: Final = {"F32": 0, "F16": 1}  # GGML_TYPE_*


@dataclass(slots=True)
class _Handles:
    """The C objects, freed in the order that their dependencies need."""

    native: Native
    model: int | None = None
    context: int | None = None
    projector: Projector | None = None
    kept: list[object] = field(default_factory=list)  # callbacks that C may call until then

    def free(self) -> None:
        if self.projector is not None:
            self.projector.close()
            self.projector = None
        if self.context:
            self.native.llama.llama_free(self.context)
            self.context = None
        if self.model:
            self.native.llama.llama_model_free(self.model)  # frees its adapters, too
            self.model = None
        self.kept.clear()


class LlamaCppBackend:
    """A critic on llama.cpp: language model, optional vision tower, LoRA adapters.

    All sequences share one KV cache: a fork marks the cells of its origin and copies nothing.

    Args:
        language_model: GGUF of architecture llama, qwen2 or qwen2vl.
        mmproj: GGUF of the vision tower: with an ``mlp`` projector, or for qwen2vl with
            ``qwen2.5vl_merger``.
        adapters: LoRA GGUFs, all applied at full strength.
        options: context, threads, device.
        package: who brings llama.cpp.

    Raises:
        MissingExtraError: the package is not installed.
        ArtifactError: a file is missing, damaged, of another kind, or does not fit the others.
        BackendUnavailableError: the device or the memory asked for is not there.
    """

    def __init__(
        self,
        language_model: Path,
        *,
        mmproj: Path | None = None,
        adapters: Sequence[Path] = (),
        options: EngineOptions | None = None,
        package: Package = "llama-cpp-python",
    ) -> None:
        options = options or EngineOptions()
        facts = check_language_model(language_model)
        projector = None if mmproj is None else check_projector(mmproj, facts)
        for adapter in adapters:
            check_adapter(adapter, facts)
        native = load_native(package)
        handles = _Handles(native)
        self._native = native
        self._handles = handles
        # Also runs at interpreter exit, while Python objects that C calls still exist.
        self._finalizer = weakref.finalize(self, handles.free)
        try:
            offload = NOTHING
            if _resolve_device(native, options):
                free = native.free_gpu_memory()
                offload = choose_offload(free, facts, projector, adapters, options)
            use_gpu = offload.uses_gpu
            n_threads = options.n_threads or default_threads()
            handles.model = _load_model(native, language_model, offload)
            handles.context = _open_context(native, handles.model, options, n_threads, use_gpu)
            _apply_adapters(native, handles, adapters)
            if projector is not None:
                handles.projector = Projector(
                    native,
                    projector,
                    handles.model,
                    n_threads=n_threads,
                    use_gpu=use_gpu,
                    flash_attention=options.flash_attention,
                )
            vocab: int = native.llama.llama_model_get_vocab(handles.model)
            self._tokenizer = Tokenizer(native, vocab, facts.normalizer)
            self._memory: int = native.llama.llama_get_memory(handles.context)
            self._info = self._describe(facts, options, _device(native, offload))
            self._cells = CellLedger(self._info.n_ctx, options.max_sequences)
            # Not options.n_batch: a short context takes fewer positions at once than were asked
            # for, and more than it takes end the process.
            n_batch: int = native.llama.llama_n_batch(handles.context)
            self._decoder = Decoder(native, handles.context, n_batch=n_batch, info=self._info)
            handles.kept.append(self._decoder)
        except BaseException:
            handles.free()
            raise

    @property
    def info(self) -> BackendInfo:
        """What is loaded."""
        return self._info

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """Token ids of `text`; see `Backend.tokenize`."""
        self._require_open()
        return self._tokenizer.encode(text, control=control)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; see `Backend.token_bytes`."""
        self._require_open()
        check_token(token, self._info.n_vocab)
        return self._tokenizer.bytes_of(token)

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """Vision tower and projector; see `Backend.encode_tiles`."""
        self._require_open()
        if self._handles.projector is None:
            raise InputError("this critic has no vision tower", "load it with its mmproj file")
        return self._handles.projector.encode(tiles)

    def open_sequence(self) -> int:
        """A new, empty sequence."""
        self._require_open()
        return self._cells.open()

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence that shares the first cells of `sequence`; see `Backend.fork`."""
        self._require_open()
        copy = self._cells.fork(sequence, length)
        # A fork marks cells as shared, so it must see those of every earlier append.
        end = self._cells.position(copy)
        self._native.llama.llama_memory_seq_cp(self._memory, sequence, copy, 0, end)
        return copy

    def close_sequence(self, sequence: int) -> None:
        """Drop a sequence."""
        self._require_open()
        self._cells.close(sequence)
        self._native.llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        """Decode appends to different sequences; see `Backend.append`."""
        self._require_open()
        check_appends(appends, self._info)
        positions = [self._cells.position(append.sequence) for append in appends]
        self._cells.reserve(appends)
        return self._decoder.run(appends, positions, cancel)

    def length(self, sequence: int) -> int:
        """Cells that the sequence holds."""
        return self._cells.length(sequence)

    @property
    def free_cells(self) -> int:
        """Cells that no sequence holds."""
        return self._cells.n_free

    def close(self) -> None:
        """Free everything. Idempotent."""
        self._finalizer()

    def _require_open(self) -> None:
        if self._handles.context is None:
            raise BackendUnavailableError("this backend is closed", "load the critic again")

    def _describe(
        self, facts: LanguageModelFacts, options: EngineOptions, device: str
    ) -> BackendInfo:
        llama, handles = self._native.llama, self._handles
        return BackendInfo(
            name="llamacpp",
            engine=self._native.engine,
            device=device,
            n_ctx=llama.llama_n_ctx(handles.context),
            n_embd=llama.llama_model_n_embd(handles.model),
            n_vocab=self._tokenizer.n_vocab,
            max_sequences=options.max_sequences,
            end_tokens=self._tokenizer.end_tokens(),
            cell_bytes=facts.cell_values * CACHE_BYTES[options.cache_type],
            grid_positions=facts.grid_positions,
        )


def _resolve_device(native: Native, options: EngineOptions) -> bool:
    """Whether to use a GPU."""
    available = bool(native.llama.llama_supports_gpu_offload())
    if options.device == "gpu" and not available:
        raise BackendUnavailableError(
            "llama.cpp sees no GPU",
            "install llama-cpp-python built for your GPU "
            "(CMAKE_ARGS='-DGGML_CUDA=on' pip install --no-binary :all: llama-cpp-python), "
            "or use device='cpu'",
        )
    return available and options.device != "cpu"


def _device(native: Native, offload: Offload) -> str:
    """What computes, for reports."""
    if not offload.uses_gpu:
        return "cpu"
    return ", ".join(filter(None, (native.gpu_name(), offload.note)))


def _load_model(native: Native, path: Path, offload: Offload) -> int:
    llama = native.llama
    params = llama.llama_model_default_params()
    params.n_gpu_layers = offload.layers
    no_devices = (ctypes.c_void_p * 1)(None)
    if not offload.uses_gpu:  # a build with a GPU would still offload large products to it
        params.devices = ctypes.addressof(no_devices)
    native.log.forget()
    model: int | None = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ArtifactError(
            f"llama.cpp does not open {path}: {native.log.complaint()}",
            "the file is damaged or too new for this engine: fetch or export it again",
        )
    return model


def _open_context(
    native: Native, model: int, options: EngineOptions, n_threads: int, use_gpu: bool
) -> int:
    llama = native.llama
    params = llama.llama_context_default_params()
    params.n_ctx = options.n_ctx
    params.n_batch = options.n_batch
    params.n_ubatch = min(options.n_ubatch, options.n_batch)
    params.n_seq_max = options.max_sequences
    # One row for each sequence at most: keeps the buffer of the output layer small.
    params.n_outputs_max = options.max_sequences
    params.n_threads = params.n_threads_batch = n_threads
    params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
    params.type_k = params.type_v = _CACHE_TYPES[options.cache_type]
    params.kv_unified = True
    params.offload_kqv = params.op_offload = use_gpu
    params.no_perf = True
    native.log.forget()
    context: int | None = llama.llama_init_from_model(model, params)
    if not context:
        raise BackendUnavailableError(
            f"llama.cpp cannot open a context of {options.n_ctx} tokens: {native.log.complaint()}",
            "lower EngineOptions.n_ctx, or use a smaller quantization",
        )
    return context


def _apply_adapters(native: Native, handles: _Handles, adapters: Sequence[Path]) -> None:
    if not adapters:
        return
    llama = native.llama
    loaded: list[Any] = []
    for path in adapters:
        native.log.forget()
        adapter = llama.llama_adapter_lora_init(handles.model, os.fsencode(path))
        if not adapter:
            raise ArtifactError(
                f"llama.cpp does not apply {path}: {native.log.complaint()}",
                "use the adapter that was exported for this language model",
            )
        loaded.append(adapter)
    pointers = (llama.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
    scales = (ctypes.c_float * len(loaded))(*[1.0] * len(loaded))
    if llama.llama_set_adapters_lora(handles.context, pointers, len(loaded), scales) != 0:
        raise BackendUnavailableError(
            f"llama.cpp does not set {len(loaded)} adapters", "merge the adapters into the model"
        )
