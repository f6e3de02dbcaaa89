"""A SigLIP tower with LLaVA-OneVision's projector as an ONNX graph: tiles in, features out.

The tensors are those of an mmproj file, by its names; see `edgecritic.mmproj_layout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.graphs.linear import write_linear
from edgecritic.graphs.model_file import CONTRIB, ModelFile
from edgecritic.graphs.precision import FloatPrecision
from edgecritic.graphs.weights import Matrix, Weights
from edgecritic.mmproj_layout import TowerShape

VISION_ENCODER: Final = "vision_encoder"
"""File name of transformers.js, without what stands for the type."""


def write_tower(
    weights: Weights,
    shape: TowerShape,
    path: Path,
    precision: FloatPrecision,
    *,
    external: bool | None = None,
) -> tuple[Path, ...]:
    """Write vision tower and projector.

    Input: ``pixel_values`` (tiles, 3, S, S) float32. Output: ``image_features`` (tiles, patches,
    n_embd) float32, before the tower's closing norm, as LLaVA-OneVision reads it.

    Args:
        weights: of the mmproj file.
        shape: of the tower.
        path: the file to make.
        precision: how the matrices are stored; they are multiplied in float32.
        external: see `ModelFile`.

    Returns:
        The files written, the model first.
    """
    with ModelFile(path, external=external) as model:
        _Tower(weights, shape, model, precision).write()
        return model.finish()


class _Tower:
    """The graph of one tower."""

    def __init__(
        self, weights: Weights, shape: TowerShape, model: ModelFile, precision: FloatPrecision
    ) -> None:
        self._weights = weights
        self._shape = shape
        self._model = model
        self._precision: FloatPrecision = precision

    def write(self) -> None:
        """Add all nodes and weights."""
        model, shape = self._model, self._shape
        side = shape.patch_size * round(shape.patches**0.5)
        pixels = model.input("pixel_values", "float32", "tiles", 3, side, side)
        model.output("image_features", "float32", "tiles", shape.patches, shape.outer)
        hidden = self._write_patches(pixels)
        for block in range(shape.n_blocks):
            hidden = self._write_block(f"v.blk.{block}", hidden)
        inner = self._linear("mm.0", hidden)
        activated = model.node("Gelu", [inner], ["mm.1"], approximate="none")
        model.node("Identity", [self._linear("mm.2", activated)], ["image_features"])

    def _write_patches(self, pixels: str) -> str:
        """(tiles, patches, width): patches in rows, with their positions."""
        model, shape = self._model, self._shape
        patches = model.node(
            "Conv",
            [pixels, self._tensor("v.patch_embd.weight"), self._tensor("v.patch_embd.bias")],
            ["v.patch_embd"],
            strides=[shape.patch_size, shape.patch_size],
        )
        flat = model.constant("flat", [0, shape.width, shape.patches])
        rows = model.node("Reshape", [patches, flat], ["v.patches"])
        turned = model.node("Transpose", [rows], ["v.patches_T"], perm=[0, 2, 1])
        return model.node("Add", [turned, self._tensor("v.position_embd.weight")], ["v.embedded"])

    def _write_block(self, name: str, hidden: str) -> str:
        model = self._model
        attended = self._write_attention(name, self._norm(f"{name}.ln1", hidden))
        hidden = model.node("Add", [hidden, attended], [f"{name}.attended"])
        up = self._linear(f"{name}.ffn_up", self._norm(f"{name}.ln2", hidden))
        activated = model.node("Gelu", [up], [f"{name}.ffn_act"], approximate="tanh")
        down = self._linear(f"{name}.ffn_down", activated)
        return model.node("Add", [hidden, down], [f"{name}.output"])

    def _write_attention(self, name: str, x: str) -> str:
        parts = [f"{name}.attn_{part}" for part in "qkv"]
        biases = np.concatenate([self._weights.read(f"{part}.bias") for part in parts])
        mixed = self._model.node(
            "MultiHeadAttention",
            [
                *(self._product(part, x) for part in parts),
                self._model.weight(f"{name}.attn_qkv.bias", biases),
            ],
            [f"{name}.attn"],
            domain=CONTRIB,
            num_heads=self._shape.n_heads,
        )
        return self._linear(f"{name}.attn_out", mixed)

    def _norm(self, name: str, x: str) -> str:
        return self._model.node(
            "LayerNormalization",
            [x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")],
            [name],
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    def _linear(self, name: str, x: str) -> str:
        return self._model.node(
            "Add", [self._product(name, x), self._tensor(f"{name}.bias")], [name]
        )

    def _product(self, name: str, x: str) -> str:
        matrix = Matrix(self._weights, (f"{name}.weight",))
        return write_linear(self._model, matrix, x, name, self._precision)

    def _tensor(self, name: str) -> str:
        return self._model.weight(name, self._weights.read(name))
