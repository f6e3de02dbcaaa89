"""A vision tower and its projector as an mmproj GGUF for llama.cpp: LLaVA-OneVision's.

llama.cpp has no converter for this model. Its projector type ``mlp`` runs the same computation on
one tile: a SigLIP encoder whose last hidden state, before the final layer norm, goes through two
linear layers. Tiling, unpadding and the newline feature stay outside (`edgecritic.vision`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecritic.errors import ArtifactError
from edgecritic.mmproj_layout import IMAGE_NEWLINE, TowerShape, tensor_shapes
from edgecritic_export.gguf.file import (
    FILE_TYPES,
    FloatType,
    Tensor,
    TensorSource,
    Value,
    write_gguf,
)
from edgecritic_export.gguf.native_tower import write_native_tower

if TYPE_CHECKING:
    from edgecritic_export.checkpoints.folder import Checkpoint

_VISION_NAMES: Final = {
    "embeddings.patch_embedding": "v.patch_embd",
    "embeddings.position_embedding": "v.position_embd",
}
_BLOCK_NAMES: Final = {
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_PROJECTOR_NAMES: Final = {"linear_1": "mm.0", "linear_2": "mm.2"}
# Not part of the computation: LLaVA-OneVision reads the encoder before its final norm and head.
_UNUSED: Final = ("post_layernorm.", "head.", "embeddings.position_ids")
_BLOCK: Final = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_HINT: Final = "this exporter takes LLaVA-OneVision checkpoints with a SigLIP vision tower"


@dataclass(frozen=True, slots=True)
class VisionTowerConfig:
    """The numbers of a SigLIP tower that its mmproj file carries.

    Attributes:
        n_blocks: encoder layers that are used: all of them when the last hidden state is read.
        image_mean: subtracted from RGB in [0, 1].
        image_std: divides what remains.
    """

    image_size: int
    patch_size: int
    n_embd: int
    n_ff: int
    n_head: int
    n_blocks: int
    layer_norm_eps: float = 1e-6
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, object]) -> VisionTowerConfig:
        """Read the parsed ``config.json`` of a LLaVA-OneVision checkpoint.

        Raises:
            ArtifactError: the tower or the projector computes something else than llama.cpp would.
        """
        vision = config.get("vision_config")
        if not isinstance(vision, Mapping):
            raise ArtifactError("config.json has no vision_config", _HINT)
        for section, key, allowed in (
            (vision, "model_type", ("siglip_vision_model",)),
            (vision, "hidden_act", ("gelu_pytorch_tanh",)),
            (config, "projector_hidden_act", ("gelu",)),
            (config, "vision_feature_select_strategy", ("full",)),
        ):
            if section.get(key) not in allowed:
                raise ArtifactError(
                    f"config.json: {key} is {section.get(key)!r}, expected {allowed[0]!r}", _HINT
                )
        n_layers = _integer(vision, "num_hidden_layers")
        feature_layer = _integer(config, "vision_feature_layer")
        # hidden_states has n_layers + 1 entries, the first is the input of layer 0.
        n_blocks = feature_layer if feature_layer >= 0 else n_layers + 1 + feature_layer
        if not 1 <= n_blocks <= n_layers:
            raise ArtifactError(
                f"config.json: vision_feature_layer {feature_layer} of {n_layers} layers", _HINT
            )
        return cls(
            image_size=_integer(vision, "image_size"),
            patch_size=_integer(vision, "patch_size"),
            n_embd=_integer(vision, "hidden_size"),
            n_ff=_integer(vision, "intermediate_size"),
            n_head=_integer(vision, "num_attention_heads"),
            n_blocks=n_blocks,
            layer_norm_eps=float(str(vision.get("layer_norm_eps", 1e-6))),
        )


def write_mmproj(
    tensors: Mapping[str, Tensor | TensorSource],
    config: VisionTowerConfig,
    path: Path,
    *,
    float_type: FloatType = "F16",
    name: str = "edgecritic vision tower",
) -> None:
    """Write the mmproj file of a LLaVA-OneVision critic.

    Matrices are stored in `float_type`; biases, norms, position embeddings and the newline
    feature, which are small, in F32.

    Args:
        tensors: the checkpoint's tensors by their transformers names, with or without a leading
            ``model.``; those of the language model are left out.
        config: the tower's numbers.
        path: the file to make.
        float_type: ``"F16"`` costs a cosine of about 1e-6, ``"F32"`` nothing.
        name: ``general.name``.

    Raises:
        ArtifactError: a tensor is missing, unknown, of the wrong shape, or overflows.
    """
    if config.n_ff == config.n_embd:
        raise ArtifactError(
            f"feed-forward width {config.n_ff} equals the tower's width",
            "choose another intermediate_size: llama.cpp would swap the two feed-forward layers",
        )
    written: dict[str, TensorSource] = {}
    for source, tensor in tensors.items():
        target = _target_name(source, config.n_blocks)
        if target is None:
            continue
        given = tensor if isinstance(tensor, TensorSource) else TensorSource.of(tensor)
        written[target] = replace(given, stored_as=_stored_as(target, given, float_type))
    _check_shapes(written, config)
    metadata = _metadata(config, name, int(written["mm.2.bias"].shape[0]))
    metadata["general.file_type"] = FILE_TYPES[float_type]
    write_gguf(path, "clip", metadata, dict(sorted(written.items())))


def write_checkpoint_mmproj(
    checkpoint: Checkpoint,
    path: Path,
    *,
    float_type: FloatType | None = None,
    name: str = "edgecritic vision tower",
) -> None:
    """Write the mmproj file of a checkpoint of any family, tensor by tensor.

    Args:
        checkpoint: open.
        path: the file to make.
        float_type: of the matrices; the family's `tower_type` when left out.
        name: ``general.name``.

    Raises:
        ArtifactError: llama.cpp would compute something else, or a weight overflows.
    """
    write = _TOWERS[checkpoint.family]
    write(checkpoint, path, float_type=float_type or tower_type(checkpoint.family), name=name)


def tower_type(family: str) -> FloatType:
    """Half precision that a family's tower keeps its range in.

    Some Qwen2.5-VL towers exceed that of F16 where a GPU sums up in it.
    """
    return "BF16" if family == "qwen2_5_vl" else "F16"


def write_tile_tower(
    checkpoint: Checkpoint, path: Path, *, float_type: FloatType, name: str
) -> None:
    """Write the mmproj file of a LLaVA-OneVision checkpoint, tensor by tensor.

    Args:
        checkpoint: open, of the family ``llava_onevision``.
        path: the file to make.
        float_type: see `write_mmproj`.
        name: ``general.name``.

    Raises:
        ArtifactError: as for `write_mmproj`, or the checkpoint is of another family.
    """
    geometry, newline = checkpoint.geometry, checkpoint.image_newline
    if newline is None:
        raise ArtifactError(f"{checkpoint.folder} is no LLaVA-OneVision checkpoint", _HINT)
    config = replace(
        VisionTowerConfig.from_checkpoint(checkpoint.config),
        image_mean=geometry.mean,
        image_std=geometry.std,
    )
    stored = {
        f"{part}.{short}": TensorSource.stored(checkpoint.store, full, float_type)
        for part, names in (
            ("vision_tower", checkpoint.vision_tensors()),
            ("multi_modal_projector", checkpoint.projector_tensors()),
        )
        for short, full in names.items()
    }
    tensors = {**stored, "image_newline": TensorSource.of(newline)}
    write_mmproj(tensors, config, path, float_type=float_type, name=name)


_TOWERS: Final = {"llava_onevision": write_tile_tower, "qwen2_5_vl": write_native_tower}


def _stored_as(target: str, tensor: TensorSource, float_type: FloatType) -> FloatType:
    """Vectors are added in F32; ggml convolves with F16 or F32."""
    if len(tensor.shape) == 1 or target.endswith(".bias") or "position" in target:
        return "F32"
    return "F32" if float_type == "BF16" and len(tensor.shape) == 4 else float_type


def _metadata(config: VisionTowerConfig, name: str, width: int) -> dict[str, Value]:
    return {
        "general.type": "mmproj",
        "general.name": name,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": config.image_size,
        "clip.vision.patch_size": config.patch_size,
        "clip.vision.embedding_length": config.n_embd,
        "clip.vision.feed_forward_length": config.n_ff,
        "clip.vision.block_count": config.n_blocks,
        "clip.vision.projection_dim": width,
        "clip.vision.attention.head_count": config.n_head,
        "clip.vision.attention.layer_norm_epsilon": config.layer_norm_eps,
        # Without it llama.cpp leaves the last layer out, as LLaVA 1.5 does.
        "clip.vision.feature_layer": (config.n_blocks,),
        "clip.vision.image_mean": config.image_mean,
        "clip.vision.image_std": config.image_std,
    }


def _target_name(source: str, n_blocks: int) -> str | None:
    """Name in the mmproj file; None for a tensor that has no place there."""
    name = source.removeprefix("model.")
    if name.startswith(("language_model.", "lm_head.")):
        return None
    if name == "image_newline":
        return IMAGE_NEWLINE
    if name.startswith("multi_modal_projector."):
        layer, _, kind = name.removeprefix("multi_modal_projector.").rpartition(".")
        return f"{_PROJECTOR_NAMES[layer]}.{kind}" if layer in _PROJECTOR_NAMES else _unknown(name)
    if name.startswith("vision_tower."):
        inner_name = name.removeprefix("vision_tower.").removeprefix("vision_model.")
        return _tower_name(inner_name, n_blocks)
    return _unknown(name)


def _tower_name(name: str, n_blocks: int) -> str | None:
    if name.startswith(_UNUSED):
        return None
    module, _, kind = name.rpartition(".")
    if module in _VISION_NAMES:
        return f"{_VISION_NAMES[module]}.{kind}"
    block = _BLOCK.fullmatch(module)
    if block is None or block[2] not in _BLOCK_NAMES:
        return _unknown(name)
    if int(block[1]) >= n_blocks:
        return None
    return f"v.blk.{int(block[1])}.{_BLOCK_NAMES[block[2]]}.{kind}"


def _unknown(source: str) -> str:
    raise ArtifactError(f"tensor {source} is not part of a LLaVA-OneVision vision tower", _HINT)


def _check_shapes(written: Mapping[str, TensorSource], config: VisionTowerConfig) -> None:
    shape = TowerShape(
        n_blocks=config.n_blocks,
        patch_size=config.patch_size,
        patches=(config.image_size // config.patch_size) ** 2,
        width=config.n_embd,
        hidden=config.n_ff,
        inner=_rows(written, "mm.0.bias"),
        outer=_rows(written, "mm.2.bias"),
        n_heads=config.n_head,
        epsilon=config.layer_norm_eps,
    )
    for name, expected in tensor_shapes(shape).items():
        actual = written[name].shape if name in written else None
        if actual != expected:
            raise ArtifactError(f"vision tensor {name} is {actual}, expected {expected}", _HINT)


def _rows(written: Mapping[str, TensorSource], name: str) -> int:
    if name not in written:
        raise ArtifactError(f"vision tensor {name} is missing", _HINT)
    return written[name].shape[0]


def _integer(section: Mapping[str, object], key: str) -> int:
    value = section.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArtifactError(f"config.json: {key} is {value!r}, expected an integer", _HINT)
    return value
