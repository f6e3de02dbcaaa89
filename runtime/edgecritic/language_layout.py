"""A Llama or Qwen2 layer in llama.cpp: what its matrices are called, how their rows are ordered."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

MODULES: Final[dict[str, str]] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The matrices of a layer in transformers, and their names in GGUF."""

NORMS: Final[dict[str, str]] = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""The norms of a layer in transformers, and their names in GGUF."""

_OUTSIDE: Final = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def permute_for_rope(rows: NDArray[Any], n_head: int) -> NDArray[Any]:
    """Reorder the output rows of a query or key matrix for llama.cpp's ``llama`` architecture.

    transformers rotates the first half of a head against its second half, llama.cpp neighbours
    against each other, so row i of the first half goes to 2i, row i of the second to 2i + 1.

    Args:
        rows: (n_head * head_dim, ...) in transformers' order.
        n_head: heads of this matrix.

    Returns:
        The same rows in llama.cpp's order.
    """
    head_dim = rows.shape[0] // n_head
    halves = rows.reshape(n_head, 2, head_dim // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def tensor_name(source: str) -> str:
    """Name in GGUF of a language model's tensor.

    Args:
        source: name in transformers, such as ``model.layers.0.mlp.up_proj.weight``.
    """
    module, _, kind = source.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{kind}"
    layer, _, inner = module.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{(NORMS | MODULES)[inner]}.{kind}"
