"""The weights of GGUF files as float32, adapters merged, piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.llamacpp.artifacts import check_adapter, check_language_model
from edgecritic.derived.dequantize import FloatArray, dequantize
from edgecritic.errors import ArtifactError, shown
from edgecritic.gguf_header import GgufHeader, read_header
from edgecritic.graphs.weights import ALL
from edgecritic.language_layout import permute_for_rope, tensor_name
from edgecritic.text_shape import Architecture, TextShape

Indices: TypeAlias = NDArray[np.intp]

_ROTARY_DEFAULT: Final = 10_000.0
_USE_LLAMACPP: Final = "judge with llama.cpp: pip install 'edgecritic[llama]'"


class GgufWeights:
    """The tensors of one file, by its own names.

    Args:
        header: of the file.
    """

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        self._bytes = np.memmap(header.path, dtype=np.uint8, mode="r")

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self.header.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Weights.shape`."""
        return self.header.tensor(name).shape[::-1]

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        """See `Weights.read`; tensors of more dimensions come whole."""
        shape = self.shape(name)
        if len(shape) != 2:
            return self.rows(name, ALL).reshape(shape)
        return self.rows(name, rows)[:, columns]

    def rows(self, name: str, rows: slice | Indices) -> FloatArray:
        """(n, width) float32 of those rows; a vector is one row."""
        claim = self.header.tensor(name)
        stored = self._bytes[claim.start : claim.start + claim.n_bytes]
        n_rows = int(np.prod(claim.shape[1:], dtype=np.int64))
        return dequantize(stored.reshape(n_rows, -1)[rows], claim.type_name)


class GgufLanguageModel:
    """The `edgecritic.graphs.weights.LanguageModel` of a GGUF file and its adapters.

    Args:
        path: of architecture llama or qwen2.
        adapters: LoRA files, all merged at full strength.

    Raises:
        ArtifactError: a file is of another kind, or does not fit the others.
    """

    def __init__(self, path: Path, adapters: Sequence[Path] = ()) -> None:
        facts = check_language_model(path)
        if facts.grid_positions:
            raise ArtifactError(
                f"{path}: positions with rows and columns cannot be converted to ONNX",
                _USE_LLAMACPP,
            )
        for adapter in adapters:
            check_adapter(adapter, facts)
        self._weights = GgufWeights(read_header(path))
        self._adapters = [_Adapter(adapter) for adapter in adapters]
        self._check_adapters()
        _check_rotary(self._weights.header)
        self._text = _text_shape(self._weights)

    @property
    def text(self) -> TextShape:
        """Its numbers."""
        return self._text

    @property
    def rope_scaling(self) -> Mapping[str, object]:
        """Nothing: what scales positions is refused."""
        return {}

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return self._weights.has(tensor_name(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Weights.shape`."""
        return self._weights.shape(tensor_name(name))

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        """See `Weights.read`."""
        stored = tensor_name(name)
        shape = self._weights.shape(stored)
        wanted = self._row_order(stored, shape[0])[rows]
        if len(shape) == 1:
            return np.asarray(self._weights.rows(stored, ALL)[0, wanted])
        values = self._weights.rows(stored, wanted)
        for adapter in self._adapters:
            values = adapter.added_to(values, stored, wanted)
        return values[:, columns]

    def _row_order(self, stored: str, n_rows: int) -> Indices:
        """Where each of transformers' rows lies in the file."""
        order = np.arange(n_rows)
        heads = {"attn_q": self.text.n_head, "attn_k": self.text.n_head_kv}
        n_head = heads.get(stored.split(".")[-2])
        if n_head is None or self.text.architecture != "llama":
            return order
        return np.argsort(permute_for_rope(order, n_head))

    def _check_adapters(self) -> None:
        for adapter in self._adapters:
            for name in adapter.adapted:
                if not self._weights.has(name) or self._weights.shape(name) != adapter.shape(name):
                    raise ArtifactError(
                        f"{adapter.path} adapts {shown(name)} as {adapter.shape(name)}, which "
                        f"{self._weights.header.path} does not have",
                        "use the adapter that was exported for this language model",
                    )


class _Adapter:
    """Low-rank additions to the matrices of a language model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._weights = GgufWeights(read_header(path))
        self._alpha = self._weights.header.number("adapter.lora.alpha", 0.0, 1e6)
        self.adapted = sorted(
            {name.rpartition(".lora_")[0] for name in self._weights.header.tensors}
        )

    def shape(self, name: str) -> tuple[int, int]:
        """Of the matrix that is adapted."""
        return self._weights.shape(f"{name}.lora_b")[0], self._weights.shape(f"{name}.lora_a")[1]

    def added_to(self, values: FloatArray, name: str, rows: Indices) -> FloatArray:
        """Some rows of a matrix, now with what this adapter adds to them."""
        if name not in self.adapted:
            return values
        down = self._weights.read(f"{name}.lora_a")
        up = self._weights.rows(f"{name}.lora_b", rows)
        up *= np.float32(self._alpha / len(down))
        values += up @ down
        return values


def _text_shape(weights: GgufWeights) -> TextShape:
    header = weights.header
    llama = header.metadata.get("general.architecture") == "llama"
    architecture: Architecture = "llama" if llama else "qwen2"
    n_embd = header.count(f"{architecture}.embedding_length")
    n_head = header.count(f"{architecture}.attention.head_count")
    theta = header.metadata.get(f"{architecture}.rope.freq_base", _ROTARY_DEFAULT)
    return TextShape(
        architecture=architecture,
        n_layers=header.count(f"{architecture}.block_count"),
        n_embd=n_embd,
        n_ff=header.count(f"{architecture}.feed_forward_length"),
        n_head=n_head,
        n_head_kv=header.count(f"{architecture}.attention.head_count_kv", default=n_head),
        head_dim=n_embd // n_head,
        n_vocab=weights.shape("token_embd.weight")[0],
        rms_eps=header.number(f"{architecture}.attention.layer_norm_rms_epsilon", 0.0, 0.1),
        rope_theta=float(theta) if isinstance(theta, int | float) else _ROTARY_DEFAULT,
        n_ctx=header.count(f"{architecture}.context_length"),
        tied=not weights.has("output.weight"),
    )


def _check_rotary(header: GgufHeader) -> None:
    """Only plain rotary positions are written into the graph."""
    scaled = [key for key in header.metadata if ".rope.scaling." in key]
    if (scaled and header.metadata[scaled[0]] != "none") or "rope_freqs.weight" in header.tensors:
        what = scaled[0] if scaled else "rope_freqs.weight"
        raise ArtifactError(
            f"{header.path}: scaled rotary positions ({what}) cannot be converted to ONNX",
            _USE_LLAMACPP,
        )
