"""Language models of zeros, to learn how fast an engine is here and what it needs for itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from edgecritic.gguf_header import MAGIC, TENSOR_BLOCKS

Value: TypeAlias = int | float | str | list[str] | list[int]

_ALIGNMENT: Final = 32
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_F32, _F16 = 0, 1
_HEAD_DIM: Final = 64


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
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of one layer's matrices."""
        square, up = (self.n_embd, self.n_embd), (self.n_embd, self.n_ff)
        attention = {f"attn_{part}": square for part in ("q", "k", "v", "output")}
        return {**attention, "ffn_gate": up, "ffn_up": up, "ffn_down": (self.n_ff, self.n_embd)}

    @property
    def matrix_bytes(self) -> int:
        """Of all layers' matrices in the file."""
        block, block_bytes = next(
            sizes for name, *sizes in TENSOR_BLOCKS.values() if name == self.quant
        )
        return self.products // block * block_bytes

    @property
    def products(self) -> int:
        """Multiplications by all layers' matrices for one token."""
        return self.n_layers * sum(map(prod, self.matrices.values()))


def write_stand_in(path: Path, shape: StandIn) -> None:
    """Write it as GGUF; the file is a hole where its weights are."""
    types = {name: number for number, (name, _, _) in TENSOR_BLOCKS.items()}
    tensors: list[tuple[str, tuple[int, ...], int]] = [
        ("token_embd.weight", (shape.n_embd, shape.n_vocab), _F16),
        ("output_norm.weight", (shape.n_embd,), _F32),
    ]
    for layer in range(shape.n_layers):
        for name, ends in shape.matrices.items():
            tensors.append((f"blk.{layer}.{name}.weight", ends, types[shape.quant]))
        for name in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{layer}.{name}.weight", (shape.n_embd,), _F32))
    listed, offset = b"", 0
    for name, size, kind in tensors:
        _, block, block_bytes = TENSOR_BLOCKS[kind]
        listed += (
            _string(name) + struct.pack("<I", len(size)) + struct.pack(f"<{len(size)}Q", *size)
        )
        listed += struct.pack("<IQ", kind, offset)
        offset = _aligned(offset + prod(size) // block * block_bytes)
    keys = _keys(shape)
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_string(key) + _value(value) for key, value in keys.items()) + listed
    with path.open("wb") as file:
        file.write(head)
        file.truncate(_aligned(len(head)) + offset)


def _keys(shape: StandIn) -> dict[str, Value]:
    n_heads = shape.n_embd // _HEAD_DIM
    tokens = [f"t{number}" for number in range(shape.n_vocab)]
    return {
        "general.architecture": "llama",
        "llama.block_count": shape.n_layers,
        "llama.context_length": 4096,
        "llama.embedding_length": shape.n_embd,
        "llama.feed_forward_length": shape.n_ff,
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _HEAD_DIM,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * shape.n_vocab,
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
