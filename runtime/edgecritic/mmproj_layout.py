"""The tensors of a vision tower in an mmproj GGUF: what export writes and the runtime expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IMAGE_NEWLINE: Final = "v.image_newline"
"""The feature behind each row of an unpadded image. llama.cpp ignores it, our packing needs it."""


@dataclass(frozen=True, slots=True)
class TowerShape:
    """A SigLIP tower and the two linear layers of its projector.

    Attributes:
        patches: patches of a tile, and so position embeddings.
        width: of a hidden state.
        hidden: of a feed-forward layer.
        inner: output width of the first projector layer.
        outer: output width of the second: the language model's.
    """

    n_blocks: int
    patch_size: int
    patches: int
    width: int
    hidden: int
    inner: int
    outer: int


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
