"""Language models of zeros, to learn how fast an engine is here and what it needs for itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from edgecritic.fit.pace import N_MATRICES, LayerShape
from edgecritic.gguf_header import MAGIC, TENSOR_BLOCKS

Tensor: TypeAlias = tuple[str, tuple[int, ...], str]
"""Name, shape with the fastest dimension first, type."""
Value: TypeAlias = int | float | str | list[str] | list[int]

_ALIGNMENT: Final = 32
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_HEAD_DIM: Final = 64
_N_CTX: Final = 4096
_BLOCKS: Final = {name: (block, n_bytes) for name, block, n_bytes in TENSOR_BLOCKS.values()}
_NUMBERS: Final = {name: number for number, (name, _, _) in TENSOR_BLOCKS.items()}


@dataclass(frozen=True, slots=True)
class StandIn:
    """Shape of a stand-in.

    Attributes:
        quant: tensor type of its matrices, such as ``Q4_K``.
        n_embd: width, a multiple of 256.
        n_ff: of the feed-forward layers, a multiple of 256.
        n_layers: layers.
        n_vocab: tokens, and as many merges.
    """

    quant: str
    n_embd: int = 1024
    n_ff: int = 2816
    n_layers: int = 2
    n_vocab: int = 8192

    @property
    def layer(self) -> LayerShape:
        """One of its layers."""
        n_head = self.n_embd // _HEAD_DIM
        return LayerShape(
            self.n_embd, self.n_ff, n_head, n_head, _HEAD_DIM, (self.quant,) * N_MATRICES
        )

    @property
    def matrix_bytes(self) -> int:
        """Of all layers' matrices in the file."""
        block, block_bytes = _BLOCKS[self.quant]
        return self.products // block * block_bytes

    @property
    def products(self) -> int:
        """Multiplications by all layers' matrices for one token."""
        return self.n_layers * self.layer.products


def write_stand_in(path: Path, shape: StandIn) -> None:
    """Write it as GGUF; the file is a hole where its weights are."""
    write_layers(path, shape.layer, shape.n_layers, shape.n_vocab)


def write_layers(path: Path, layer: LayerShape, n_layers: int, n_vocab: int) -> None:
    """Write a language model of equal layers, likewise."""
    tensors: list[Tensor] = [
        ("token_embd.weight", (layer.n_embd, n_vocab), "F16"),
        ("output_norm.weight", (layer.n_embd,), "F32"),
    ]
    for index in range(n_layers):
        for (name, ends), kind in zip(layer.matrices.items(), layer.types, strict=True):
            tensors.append((f"blk.{index}.{name}.weight", ends, kind))
        for name in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{index}.{name}.weight", (layer.n_embd,), "F32"))
    _write(path, _keys(layer, n_layers, n_vocab), tensors)


def write_adapter(path: Path, layer: LayerShape, n_layers: int) -> None:
    """Write the LoRA of such a language model."""
    tensors: list[Tensor] = []
    for index in range(n_layers):
        for name, rank, kind in layer.adapter:
            n_inputs, n_outputs = layer.matrices[name]
            tensors.append((f"blk.{index}.{name}.weight.lora_a", (n_inputs, rank), kind))
            tensors.append((f"blk.{index}.{name}.weight.lora_b", (rank, n_outputs), kind))
    keys: dict[str, Value] = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 1.0,
    }
    _write(path, keys, tensors)


def _write(path: Path, keys: dict[str, Value], tensors: list[Tensor]) -> None:
    listed, offset = b"", 0
    for name, size, kind in tensors:
        block, block_bytes = _BLOCKS[kind]
        listed += (
            _string(name) + struct.pack("<I", len(size)) + struct.pack(f"<{len(size)}Q", *size)
        )
        listed += struct.pack("<IQ", _NUMBERS[kind], offset)
        offset = _aligned(offset + prod(size) // block * block_bytes)
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_string(key) + _value(value) for key, value in keys.items()) + listed
    with path.open("wb") as file:
        file.write(head)
        file.truncate(_aligned(len(head)) + offset)


def _keys(layer: LayerShape, n_layers: int, n_vocab: int) -> dict[str, Value]:
    tokens = [f"t{number}" for number in range(n_vocab)]
    return {
        "general.architecture": "llama",
        "llama.block_count": n_layers,
        "llama.context_length": _N_CTX,
        "llama.embedding_length": layer.n_embd,
        "llama.feed_forward_length": layer.n_ff,
        "llama.attention.head_count": layer.n_head,
        "llama.attention.head_count_kv": layer.n_head_kv,
        "llama.attention.key_length": layer.head_dim,
        "llama.attention.value_length": layer.head_dim,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": layer.head_dim,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * n_vocab,
        "tokenizer.ggml.merges": [f"{token} x" for token in tokens],
        "tokenizer.ggml.eos_token_id": 2,
    }


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    head = struct.pack("<I", _ARRAY)
    if isinstance(value[0], str):
        texts = b"".join(_string(str(item)) for item in value)
        return head + struct.pack("<IQ", _STRING, len(value)) + texts
    return head + struct.pack("<IQ", _INT32, len(value)) + np.array(value, "<i4").tobytes()


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
