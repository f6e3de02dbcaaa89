"""A GGUF language model as the transformers model that training needs.

The critic ships as a LoRA over the GGUF file that a package distributes, so it is trained over
exactly the weights that file holds: they are dequantised, not downloaded in full precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

CONTROL_TOKEN = 3
"""`tokenizer.ggml.token_type` of a control token (llama.cpp, `llama_token_type`)."""

BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Modules of a block in a GGUF file, and their names in transformers."""
_TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def open_gguf(path: Path) -> GGUFReader:
    """A reader over the mapped file.

    Raises:
        ArtifactError: the file is missing, or no GGUF of the ``llama`` architecture.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"{path} cannot be read as GGUF: {error}", "fetch it with: edgecritic models pull"
        ) from error
    if (arch := field(reader, "general.architecture")) != "llama":
        raise ArtifactError(f"{path} holds a {arch!r} model", "give a GGUF of the llama family")
    return reader


def field(reader: GGUFReader, key: str) -> Any:
    """The plain Python value of a metadata key; None where it is absent."""
    found = reader.get_field(key)
    return None if found is None else found.contents()


def llama_config(reader: GGUFReader) -> LlamaConfig:
    """The transformers configuration that the metadata describe."""
    from transformers import LlamaConfig

    def number(key: str) -> Any:
        return field(reader, f"llama.{key}")

    return LlamaConfig(
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        max_position_embeddings=number("context_length"),
        rms_norm_eps=round(number("attention.layer_norm_rms_epsilon"), 12),
        rope_parameters={"rope_type": "default", "rope_theta": number("rope.freq_base")},
        tie_word_embeddings=not any(t.name == "output.weight" for t in reader.tensors),
        bos_token_id=field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=field(reader, "tokenizer.ggml.padding_token_id"),
    )


def unpermuted(weight: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Undo the row order that llama.cpp's converter gives q and k of the ``llama`` architecture.

    The file pairs rotary dimensions (0, 1), (2, 3), ...; transformers pairs (0, d/2), ...

    Args:
        weight: (n_heads * head_dim, d_in).
        n_heads: query heads for q, key-value heads for k.
    """
    rows, d_in = weight.shape
    halves = weight.reshape(n_heads, rows // n_heads // 2, 2, d_in)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, d_in))


def hf_name(name: str) -> str:
    """The transformers name of a GGUF tensor, ``blk.3.attn_q.weight`` for instance."""
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{BLOCK_NAMES[parts[2]]}.weight"
    return f"{_TOP_NAMES[parts[0]]}.weight"


def state_dict(reader: GGUFReader) -> dict[str, torch.Tensor]:
    """All weights dequantised to float32, under transformers' names."""
    import torch
    from gguf import dequantize

    n_heads = {
        "attn_q": field(reader, "llama.attention.head_count"),
        "attn_k": field(reader, "llama.attention.head_count_kv"),
    }
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        kind = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if kind in n_heads:
            values = unpermuted(values, n_heads[kind])
        weights[hf_name(tensor.name)] = torch.from_numpy(values)
    return weights


def load_language_model(path: Path) -> LlamaForCausalLM:
    """The language model of a GGUF file in float32.

    Raises:
        ArtifactError: not a readable ``llama`` GGUF, or one with tensors left over.
    """
    from transformers import LlamaForCausalLM

    reader = open_gguf(path)
    config = llama_config(reader)
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state_dict(reader), strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if set(missing) - tied or unexpected:
        raise ArtifactError(
            f"{path}: tensors missing {sorted(set(missing) - tied)[:3]}, unknown {unexpected[:3]}",
            "the file is not a plain Llama model",
        )
    model.tie_weights()
    return model


def build_tokenizer(path: Path) -> Tokenizer:
    """The file's byte-level BPE as a `tokenizers.Tokenizer`, digits split one by one.

    Control tokens are recognised in the text unless ``encode_special_tokens`` is set.

    Source: the pre-tokenizer named "smollm" in llama.cpp (`llama-vocab.cpp`).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    reader = open_gguf(path)
    if (pre := field(reader, "tokenizer.ggml.pre")) != "smollm":
        raise ArtifactError(
            f"{path}: pre-tokenizer {pre!r} is not known here", "use a SmolLM2 GGUF"
        )
    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = field(reader, "tokenizer.ggml.token_type")
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL_TOKEN
        ]
    )
    return tokenizer


class PieceTokenizer:
    """Tokenizes prompt pieces the way the runtime does: control tokens only where allowed."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._encode: Callable[[str, bool], tuple[int, ...]] = lru_cache(maxsize=65536)(self._ids)

    @classmethod
    def from_gguf(cls, path: Path) -> PieceTokenizer:
        """The tokenizer of a language model file."""
        return cls(build_tokenizer(path))

    def __call__(self, text: str, *, control: bool = False) -> tuple[int, ...]:
        """Token ids of one piece."""
        return self._encode(text, control)

    def _ids(self, text: str, control: bool) -> tuple[int, ...]:
        self.tokenizer.encode_special_tokens = not control
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: list[int]) -> str:
        """Text of `tokens`, control tokens left out."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def special_ids(tokenizer: Tokenizer) -> Mapping[str, int]:
    """The control tokens by their text."""
    return {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items()}
