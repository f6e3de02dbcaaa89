"""Random models of the real architectures, small enough to be made for each test run.

The tensors are made under transformers' names and go through the project's own writers, so a tiny
transformers model can be written to the same files (see the differential tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecritic_export.gguf.file import FloatType, Tensor, Value, as_float, write_gguf
from edgecritic_export.gguf.lora import Architecture, LoraConfig, permute_for_rope, write_lora
from edgecritic_export.gguf.mmproj import VisionTowerConfig, write_mmproj

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Behind all others, so that the ids of the others do not depend on them.
PLACEHOLDER_TOKENS = ("<empty_output>", "<jupyter_script>")
MERGES = ("t h", "th e", "Ġ the")
NORMAL, CONTROL = 1, 3  # LLAMA_TOKEN_TYPE_*

TOWER = VisionTowerConfig(image_size=28, patch_size=7, n_embd=32, n_ff=64, n_head=2, n_blocks=2)


@dataclass(frozen=True)
class LanguageModelShape:
    architecture: Architecture = "llama"
    n_layers: int = 2
    n_embd: int = 64
    n_ff: int = 96
    n_head: int = 4
    n_head_kv: int = 2
    n_ctx: int = 2048
    rms_eps: float = 1e-6
    rope_theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


@dataclass(frozen=True)
class TinyModels:
    language_model: Path
    mmproj: Path
    adapter: Path
    token_embeddings: np.ndarray
    """(n_vocab, n_embd) float32: the language model's input embeddings."""


def byte_symbols() -> list[str]:
    """The printable character that byte-level BPE writes for each byte, in GPT-2's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def vocabulary() -> list[str]:
    merged = (merge.replace(" ", "") for merge in MERGES)
    return [*CONTROL_TOKENS, *byte_symbols(), *merged, *PLACEHOLDER_TOKENS]


def write_language_model(
    tensors: Mapping[str, Tensor],
    shape: LanguageModelShape,
    path: Path,
    *,
    float_type: FloatType = "F32",
) -> None:
    """Write a Llama or Qwen2 model given by transformers' tensor names as a GGUF file."""
    tokens = vocabulary()
    arch = shape.architecture
    metadata: dict[str, Value] = {
        "general.type": "model",
        "general.name": "tiny",
        f"{arch}.block_count": shape.n_layers,
        f"{arch}.context_length": shape.n_ctx,
        f"{arch}.embedding_length": shape.n_embd,
        f"{arch}.feed_forward_length": shape.n_ff,
        f"{arch}.attention.head_count": shape.n_head,
        f"{arch}.attention.head_count_kv": shape.n_head_kv,
        f"{arch}.attention.layer_norm_rms_epsilon": shape.rms_eps,
        f"{arch}.rope.freq_base": shape.rope_theta,
        f"{arch}.rope.dimension_count": shape.head_dim,
        f"{arch}.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": tuple(
            CONTROL if token in (*CONTROL_TOKENS, *PLACEHOLDER_TOKENS) else NORMAL
            for token in tokens
        ),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    written: dict[str, Tensor] = {}
    for source, tensor in tensors.items():
        name = language_tensor_name(source)
        n_heads = {"attn_q": shape.n_head, "attn_k": shape.n_head_kv}.get(name.split(".")[-2])
        rows = permute_for_rope(tensor, n_heads) if n_heads and arch == "llama" else tensor
        written[name] = as_float(rows, "F32" if rows.ndim == 1 else float_type)
    write_gguf(path, arch, metadata, written)


def language_tensor_name(source: str) -> str:
    name = source.removeprefix("model.").removeprefix("language_model.")
    for old, new in (
        ("embed_tokens", "token_embd"),
        ("lm_head", "output"),
        ("layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ):
        name = name.replace(old, new)
    return name.replace("norm.weight", "output_norm.weight") if name == "norm.weight" else name


def language_tensors(shape: LanguageModelShape, rng: np.random.Generator) -> dict[str, Tensor]:
    """Random weights; std 1/sqrt(n_in) keeps activations near 1 through the layers."""
    kv_width = shape.n_head_kv * shape.head_dim
    n_spoken = len(vocabulary()) - len(PLACEHOLDER_TOKENS)
    # Nothing speaks of the placeholders: no embedding, and even odds in the head.
    silent = np.zeros((len(PLACEHOLDER_TOKENS), shape.n_embd), dtype=np.float32)
    tensors: dict[str, Tensor] = {
        "model.embed_tokens.weight": np.concatenate(
            [_normal(rng, n_spoken, shape.n_embd, std=1.0), silent]
        ),
        "model.norm.weight": np.ones(shape.n_embd, dtype=np.float32),
        "lm_head.weight": np.concatenate([_normal(rng, n_spoken, shape.n_embd), silent]),
    }
    for layer in range(shape.n_layers):
        prefix = f"model.layers.{layer}"
        for module, rows, columns in projections(shape, kv_width):
            tensors[f"{prefix}.{module}.weight"] = _normal(rng, rows, columns)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(shape.n_embd, dtype=np.float32)
    return tensors


def projections(shape: LanguageModelShape, kv_width: int) -> list[tuple[str, int, int]]:
    width, hidden = shape.n_embd, shape.n_ff
    return [
        ("self_attn.q_proj", width, width),
        ("self_attn.k_proj", kv_width, width),
        ("self_attn.v_proj", kv_width, width),
        ("self_attn.o_proj", width, width),
        ("mlp.gate_proj", hidden, width),
        ("mlp.up_proj", hidden, width),
        ("mlp.down_proj", width, hidden),
    ]


def lora_tensors(
    shape: LanguageModelShape, rng: np.random.Generator, rank: int = 4
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer in range(shape.n_layers):
        for module, rows, columns in projections(shape, shape.n_head_kv * shape.head_dim):
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{prefix}.lora_A.weight"] = _normal(rng, rank, columns)
            tensors[f"{prefix}.lora_B.weight"] = _normal(rng, rows, rank)
    return tensors


def vision_tensors(
    tower: VisionTowerConfig, n_out: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """A SigLIP tower with a projector to width `n_out`, under transformers' names."""
    width, hidden, patch = tower.n_embd, tower.n_ff, tower.patch_size
    tower_name = "model.vision_tower.vision_model"
    linear: dict[str, tuple[int, int]] = {
        "model.multi_modal_projector.linear_1": (n_out, width),
        "model.multi_modal_projector.linear_2": (n_out, n_out),
    }
    tensors: dict[str, Tensor] = {
        f"{tower_name}.embeddings.patch_embedding.weight": _normal(
            rng, width, 3 * patch * patch
        ).reshape(width, 3, patch, patch),
        f"{tower_name}.embeddings.patch_embedding.bias": _normal(rng, width),
        f"{tower_name}.embeddings.position_embedding.weight": _normal(
            rng, (tower.image_size // patch) ** 2, width
        ),
        f"{tower_name}.post_layernorm.weight": np.full(width, 2, dtype=np.float32),
        f"{tower_name}.post_layernorm.bias": np.ones(width, dtype=np.float32),
        "model.image_newline": _normal(rng, n_out),
    }
    for block in range(tower.n_blocks):
        prefix = f"{tower_name}.encoder.layers.{block}"
        for head in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear[f"{prefix}.self_attn.{head}"] = (width, width)
        linear |= {f"{prefix}.mlp.fc1": (hidden, width), f"{prefix}.mlp.fc2": (width, hidden)}
        for norm in ("layer_norm1", "layer_norm2"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(width, dtype=np.float32)
            tensors[f"{prefix}.{norm}.bias"] = np.zeros(width, dtype=np.float32)
    for name, (rows, columns) in linear.items():
        tensors[f"{name}.weight"] = _normal(rng, rows, columns)
        tensors[f"{name}.bias"] = _normal(rng, rows)
    return tensors


def make_tiny_models(folder: Path, *, float_type: FloatType = "F32", seed: int = 7) -> TinyModels:
    """Write a language model, a vision tower and an adapter that fit together."""
    rng = np.random.default_rng(seed)
    shape = LanguageModelShape()
    language = language_tensors(shape, rng)
    models = TinyModels(
        language_model=folder / "tiny.gguf",
        mmproj=folder / "tiny-mmproj.gguf",
        adapter=folder / "tiny-lora.gguf",
        token_embeddings=np.asarray(language["model.embed_tokens.weight"], dtype=np.float32),
    )
    write_language_model(language, shape, models.language_model, float_type=float_type)
    write_mmproj(
        vision_tensors(TOWER, shape.n_embd, rng), TOWER, models.mmproj, float_type=float_type
    )
    config = LoraConfig("llama", shape.n_head, shape.n_head_kv, alpha=8.0)
    write_lora(lora_tensors(shape, rng), config, models.adapter, float_type=float_type)
    return models


def _normal(rng: np.random.Generator, *shape: int, std: float | None = None) -> Tensor:
    scale = 1 / np.sqrt(shape[-1]) if std is None else std
    return (rng.standard_normal(shape) * scale).astype(np.float32)
