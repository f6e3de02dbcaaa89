"""What a training run of the embedded critic leaves: its own weights and how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError, MissingExtraError
from edgecritic.gguf_header import GgufHeader
from edgecritic.vision import ImageGeometry
from edgecritic_export.gguf.file import Tensor
from edgecritic_export.gguf.lora import LoraConfig
from edgecritic_export.gguf.mmproj import VisionTowerConfig

WEIGHTS: Final = "critic.safetensors"
SUMMARY: Final = "training.json"
ADAPTED: Final[Mapping[str, str]] = {
    "self_attn/q_proj": "attn_q",
    "self_attn/k_proj": "attn_k",
    "self_attn/v_proj": "attn_v",
    "self_attn/o_proj": "attn_output",
    "mlp/gate_proj": "ffn_gate",
    "mlp/up_proj": "ffn_up",
    "mlp/down_proj": "ffn_down",
}
"""Modules of a language model's layer that carry the adapter, and their names in GGUF."""
_HINT: Final = "export a folder that `edgecritic train embedded` has finished"


@dataclass(frozen=True, slots=True)
class TrainedCritic:
    """A critic as it was trained, its weights under the checkpoint's names.

    Attributes:
        folder: of the run.
        tensors: ``tower.*``, ``projector.*``, ``newline``, ``lora.<layer>/<module>/A|B``.
        summary: of the training, JSON.
        image: geometry of its pictures.
        dialect: identity of the prompts, ``name@hash``.
        language_model_sha256: of the file that it was trained over.
        tower: width, layers, heads and mlp of the vision tower.
        lora: rank and alpha.
    """

    folder: Path
    tensors: Mapping[str, Tensor]
    summary: Mapping[str, object]
    image: ImageGeometry
    dialect: str
    language_model_sha256: str
    tower: Mapping[str, int]
    lora: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> TrainedCritic:
        """Read a run's folder.

        Raises:
            MissingExtraError: safetensors is not installed.
            ArtifactError: a file is missing, or the summary lacks something.
        """
        where = folder / SUMMARY
        try:
            summary = json.loads(where.read_text(encoding="utf-8"))
            shapes = summary["config"]
            return cls(
                folder,
                _read_weights(folder / WEIGHTS),
                summary,
                ImageGeometry.from_dict(summary["image"]),
                str(summary["dialect"]),
                str(summary["language_model_sha256"]),
                {name: int(shapes["tower"][name]) for name in ("width", "layers", "heads", "mlp")},
                {name: int(shapes["lora"][name]) for name in ("rank", "alpha")},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{where} cannot be used: {error!r}", _HINT) from error

    def vision(self) -> dict[str, Tensor]:
        """Tower, projector and newline under transformers' names."""
        renamed = {}
        for name, tensor in self.tensors.items():
            part, _, rest = name.partition(".")
            if part != "lora":
                prefix = {"tower": "vision_tower.", "projector": "multi_modal_projector."}
                renamed[prefix[part] + rest if rest else "image_newline"] = tensor
        return renamed

    def adapter(self) -> dict[str, Tensor]:
        """The adapter under PEFT's names."""
        return {
            f"model.{module.replace('/', '.')}.lora_{half}.weight": tensor
            for name, tensor in self.tensors.items()
            for part, _, path in [name.partition(".")]
            if part == "lora"
            for module, _, half in [path.rpartition("/")]
        }

    def tower_config(self) -> VisionTowerConfig:
        """The tower's numbers for its mmproj file."""
        return VisionTowerConfig(
            image_size=self.image.tile_size,
            patch_size=self.image.patch_size,
            n_embd=self.tower["width"],
            n_ff=self.tower["mlp"],
            n_head=self.tower["heads"],
            n_blocks=self.tower["layers"],
            image_mean=self.image.mean,
            image_std=self.image.std,
        )

    def lora_config(self, language_model: GgufHeader) -> LoraConfig:
        """The adapter's numbers for its file."""
        return LoraConfig(
            "llama",
            language_model.count("llama.attention.head_count"),
            language_model.count("llama.attention.head_count_kv"),
            float(self.lora["alpha"]),
        )

    def check(self, language_model: GgufHeader) -> None:
        """Check that the weights are those of the stated shapes, no more and no fewer.

        Raises:
            ArtifactError: a weight is missing, left over, or of another shape.
        """
        expected = self.expected_shapes(language_model)
        for name in sorted(expected.keys() | self.tensors.keys()):
            found = self.tensors[name].shape if name in self.tensors else "missing"
            if found != expected.get(name, "not expected"):
                raise ArtifactError(
                    f"{self.folder / WEIGHTS}: {name} is {found}, "
                    f"by {SUMMARY} it is {expected.get(name, 'no part of the critic')}",
                    "both files must come from one run",
                )

    def expected_shapes(self, language_model: GgufHeader) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight that a critic of these numbers has."""
        vision = dict(self._expected_vision(language_model))
        return vision | self._expected_adapter(language_model)

    def _expected_vision(self, language_model: GgufHeader) -> Iterator[tuple[str, tuple[int, ...]]]:
        width, hidden, patch = self.tower["width"], self.tower["mlp"], self.image.patch_size
        n_embd = language_model.count("llama.embedding_length")
        matrices = {"projector.linear_1": (n_embd, width), "projector.linear_2": (n_embd, n_embd)}
        norms = ["tower.post_layernorm"]
        for layer in range(self.tower["layers"]):
            block = f"tower.encoder.layers.{layer}"
            attention = ("q_proj", "k_proj", "v_proj", "out_proj")
            matrices |= {f"{block}.self_attn.{name}": (width, width) for name in attention}
            matrices |= {f"{block}.mlp.fc1": (hidden, width), f"{block}.mlp.fc2": (width, hidden)}
            norms += [f"{block}.layer_norm1", f"{block}.layer_norm2"]
        yield "newline", (n_embd,)
        yield "tower.embeddings.patch_embedding.weight", (width, 3, patch, patch)
        yield "tower.embeddings.patch_embedding.bias", (width,)
        yield (
            "tower.embeddings.position_embedding.weight",
            (self.image.patches_per_side**2, width),
        )
        for name, shape in matrices.items():
            yield f"{name}.weight", shape
            yield f"{name}.bias", shape[:1]
        for name in norms:
            yield f"{name}.weight", (width,)
            yield f"{name}.bias", (width,)

    def _expected_adapter(self, language_model: GgufHeader) -> dict[str, tuple[int, ...]]:
        rank = self.lora["rank"]
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(language_model.count("llama.block_count")):
            for module, kind in ADAPTED.items():
                n_in, n_out = language_model.tensor(f"blk.{layer}.{kind}.weight").shape
                shapes[f"lora.layers/{layer}/{module}/A"] = (rank, n_in)
                shapes[f"lora.layers/{layer}/{module}/B"] = (n_out, rank)
        return shapes


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtraError(
            "reading checkpoints needs the safetensors package", "pip install 'edgecritic[export]'"
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArtifactError(f"{path} is damaged: {error}", _HINT) from error
