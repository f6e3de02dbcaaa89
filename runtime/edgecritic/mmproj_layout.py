"""The tensors of a vision tower in an mmproj GGUF: what export writes and the runtime expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IMAGE_NEWLINE: Final = "v.image_newline"
"""The feature behind each row of an unpadded image. llama.cpp ignores it, our packing needs it."""
MERGED_PATCHES: Final = 2
"""Patches along each side of a feature in a tower for pictures of any size."""


@dataclass(frozen=True, slots=True)
class TowerShape:
    """A SigLIP tower and the two linear layers of its projector.

    Attributes:
        patches: patches of a tile, and so position embeddings.
        width: of a hidden state.
        hidden: of a feed-forward layer.
        inner: output width of the first projector layer.
        outer: output width of the second: the language model's.
        n_heads: of the attention.
        epsilon: added to the variance in each norm.
    """

    n_blocks: int
    patch_size: int
    patches: int
    width: int
    hidden: int
    inner: int
    outer: int
    n_heads: int
    epsilon: float


def tensor_shapes(shape: TowerShape) -> dict[str, tuple[int, ...]]:
    """Name and shape, in numpy's order, of every tensor that llama.cpp computes with."""
    width, hidden, patch = shape.width, shape.hidden, shape.patch_size
    linear = {"mm.0": (shape.inner, width), "mm.2": (shape.outer, shape.inner)}
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (width, 3, patch, patch),
        "v.patch_embd.bias": (width,),
        "v.position_embd.weight": (shape.patches, width),
    }
    for block in range(shape.n_blocks):
        prefix = f"v.blk.{block}"
        linear |= {f"{prefix}.attn_{part}": (width, width) for part in ("q", "k", "v", "out")}
        linear |= {f"{prefix}.ffn_up": (hidden, width), f"{prefix}.ffn_down": (width, hidden)}
        for norm in ("ln1", "ln2"):
            shapes |= {f"{prefix}.{norm}.weight": (width,), f"{prefix}.{norm}.bias": (width,)}
    for name, (rows, columns) in linear.items():
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    return shapes


@dataclass(frozen=True, slots=True)
class NativeTowerShape:
    """Qwen2.5-VL's tower, which takes pictures of any size, and its merger.

    Attributes:
        width: of a hidden state.
        hidden: of a feed-forward layer.
        outer: of a feature: the language model's.
    """

    n_blocks: int
    patch_size: int
    width: int
    hidden: int
    outer: int


def native_tensor_shapes(shape: NativeTowerShape) -> dict[str, tuple[int, ...]]:
    """Name and shape, in numpy's order, of every tensor that llama.cpp computes with."""
    width, hidden, patch = shape.width, shape.hidden, shape.patch_size
    merged = width * MERGED_PATCHES**2
    linear = {"mm.0": (merged, merged), "mm.2": (shape.outer, merged)}
    # One convolution for each of the two frames that a patch spans.
    shapes: dict[str, tuple[int, ...]] = {
        f"v.patch_embd.{frame}": (width, 3, patch, patch) for frame in ("weight", "weight.1")
    }
    for block in range(shape.n_blocks):
        prefix = f"v.blk.{block}"
        linear |= {f"{prefix}.attn_{part}": (width, width) for part in ("q", "k", "v", "out")}
        linear |= {f"{prefix}.ffn_{part}": (hidden, width) for part in ("gate", "up")}
        linear[f"{prefix}.ffn_down"] = (width, hidden)
        shapes |= {f"{prefix}.{norm}.weight": (width,) for norm in ("ln1", "ln2")}
    shapes["v.post_ln.weight"] = (width,)
    for name, (rows, columns) in linear.items():
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    return shapes
