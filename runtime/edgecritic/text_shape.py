"""The numbers of a Llama or Qwen2 language model, wherever they were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Architecture: TypeAlias = Literal["qwen2", "llama"]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextShape:
    """A decoder of RMS norms, rotary attention and a gated feed-forward block.

    Attributes:
        architecture: ``qwen2`` has biases on queries, keys and values, ``llama`` has none.
        n_layers: decoder layers.
        n_embd: width.
        n_ff: width of the feed-forward block.
        n_head: query heads.
        n_head_kv: key and value heads.
        head_dim: width of a head.
        n_vocab: rows of the token embedding.
        rms_eps: added to the mean square in each norm.
        rope_theta: base of the rotary frequencies.
        n_ctx: positions that it was made for.
        tied: the head is the token embedding.
        mrope_section: pairs of a head that time, height and width rotate; empty where positions
            are plain numbers.
    """

    architecture: Architecture
    n_layers: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    rms_eps: float
    rope_theta: float
    n_ctx: int
    tied: bool
    mrope_section: tuple[int, ...] = ()

    def tensor_shapes(self) -> dict[str, Shape]:
        """Every tensor of the language model with its shape, by short names."""
        shapes: dict[str, Shape] = {"model.embed_tokens.weight": (self.n_vocab, self.n_embd)}
        for layer in range(self.n_layers):
            for name, shape in self._layer_shapes().items():
                shapes[f"model.layers.{layer}.{name}"] = shape
        shapes["model.norm.weight"] = (self.n_embd,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.n_vocab, self.n_embd)
        return shapes

    def _layer_shapes(self) -> dict[str, Shape]:
        queries, keys = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
        shapes: dict[str, Shape] = {
            "input_layernorm.weight": (self.n_embd,),
            "self_attn.q_proj.weight": (queries, self.n_embd),
            "self_attn.k_proj.weight": (keys, self.n_embd),
            "self_attn.v_proj.weight": (keys, self.n_embd),
            "self_attn.o_proj.weight": (self.n_embd, queries),
            "post_attention_layernorm.weight": (self.n_embd,),
            "mlp.gate_proj.weight": (self.n_ff, self.n_embd),
            "mlp.up_proj.weight": (self.n_ff, self.n_embd),
            "mlp.down_proj.weight": (self.n_embd, self.n_ff),
        }
        if self.architecture == "qwen2":
            biases = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
            shapes |= {f"self_attn.{name}.bias": (width,) for name, width in biases.items()}
        return shapes
