"""LLaVA-OneVision and LLaVA-Critic: SigLIP, two linear layers, Qwen2 or Llama."""

from __future__ import annotations

import re
from typing import Any, Final

from edgecritic.errors import ArtifactError, shown
from edgecritic.text_shape import Shape
from edgecritic.vision import ImageGeometry
from edgecritic_export.checkpoints.families import Family, Numbers, Part, Prefix, Settings
from edgecritic_export.checkpoints.text_shape import read_text_shape

_HINT: Final = "export a critic of LLaVA-OneVision's kind: SigLIP, two linear layers, AnyRes"
_SIGLIP: Final = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
}
_RESAMPLE: Final = {2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling
_SIDES: Final = range(384, 2305, 384)


def _read(config: Settings, processor: Settings) -> Numbers:
    text_section = config.get("text_config") or {"model_type": "qwen2"}
    # 5.x moves the flag up, some 4.x checkpoints have it in the text section only.
    tied = bool(config.get("tie_word_embeddings") or text_section.get("tie_word_embeddings"))
    text = read_text_shape("config.json: text_config", text_section, tied=tied)
    vision = _vision_section(config)
    _check_computation(config, vision)
    width = _integer(vision, "hidden_size")
    n_embd = text.n_embd
    shapes: dict[Part, dict[str, Shape]] = {
        "vision": _tower_shapes(vision),
        "projector": {
            "linear_1.weight": (n_embd, width),
            "linear_1.bias": (n_embd,),
            "linear_2.weight": (n_embd, n_embd),
            "linear_2.bias": (n_embd,),
        },
        "newline": {"": (n_embd,)},
    }
    return Numbers(text, _geometry(config, vision, processor), shapes, _UNUSED)


# LLaVA-OneVision reads the encoder before the tower's own norm and pooling head.
_UNUSED: Final = ("post_layernorm.", "head.", "embeddings.position_ids")


def _vision_section(config: Settings) -> Settings:
    found = config.get("vision_config") or {}
    return _SIGLIP | found


def _check_computation(config: Settings, vision: Settings) -> None:
    for section, key, wanted in (
        (vision, "model_type", "siglip_vision_model"),
        (vision, "hidden_act", "gelu_pytorch_tanh"),
        (vision, "num_channels", 3),
        (config, "projector_hidden_act", "gelu"),
        (config, "vision_feature_select_strategy", "full"),
        (config, "multimodal_projector_bias", True),
    ):
        if (found := section.get(key, wanted)) != wanted:
            raise ArtifactError(f"config.json: {key} is {shown(found)}, not {wanted!r}", _HINT)
    layers = _integer(vision, "num_hidden_layers")
    layer = config.get("vision_feature_layer", -1)
    if type(layer) is not int or not 1 <= (layer if layer >= 0 else layers + 1 + layer) <= layers:
        raise ArtifactError(
            f"config.json: vision_feature_layer is {shown(layer)} of {layers} layers", _HINT
        )


def _tower_shapes(vision: Settings) -> dict[str, Shape]:
    width, hidden = _integer(vision, "hidden_size"), _integer(vision, "intermediate_size")
    patch = _integer(vision, "patch_size")
    patches = (_integer(vision, "image_size") // patch) ** 2
    shapes: dict[str, Shape] = {
        "embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "embeddings.patch_embedding.bias": (width,),
        "embeddings.position_embedding.weight": (patches, width),
    }
    linear = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
    for layer in range(_integer(vision, "num_hidden_layers")):
        block = f"encoder.layers.{layer}"
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{block}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
    return shapes


def _geometry(config: Settings, vision: Settings, processor: Settings) -> ImageGeometry:
    aspect = config.get("vision_aspect_ratio") or "anyres_max_9"
    limit = re.fullmatch(r"anyres_max_(\d{1,6})", str(aspect))
    if limit is None:
        raise ArtifactError(f"config.json: vision_aspect_ratio is {shown(aspect)}", _HINT)
    pinpoints = config.get("image_grid_pinpoints") or [[h, w] for h in _SIDES for w in _SIDES]
    side = _integer(vision, "image_size")
    _check_processor(processor, side, pinpoints)
    try:
        return ImageGeometry.from_dict(
            {
                "tile_size": side,
                "patch_size": _integer(vision, "patch_size"),
                "pinpoints": pinpoints,
                "anyres_max": int(limit[1]),
                "mean": processor.get("image_mean") or [0.5, 0.5, 0.5],
                "std": processor.get("image_std") or [0.5, 0.5, 0.5],
                "resample": _RESAMPLE.get(processor.get("resample", 3)),
            }
        )
    except ArtifactError as error:
        raise ArtifactError(f"config.json: {error.message}", _HINT) from error


def _check_processor(processor: Settings, side: int, pinpoints: object) -> None:
    size = processor.get("size") or {"height": side, "width": side}
    if {size.get("height"), size.get("width")} != {side}:
        raise ArtifactError(
            f"the image processor makes tiles of {shown(size)}, the vision tower takes {side}",
            "take preprocessor_config.json and config.json from one checkpoint",
        )
    if processor.get("image_grid_pinpoints", pinpoints) != pinpoints:
        raise ArtifactError(
            "the image processor and config.json have different image_grid_pinpoints",
            "take preprocessor_config.json and config.json from one checkpoint",
        )


def _integer(section: Settings, key: str) -> int:
    value: Any = section.get(key)
    if type(value) is not int or value < 1:
        raise ArtifactError(f"config.json: {key} is {shown(value)}, not a number above 0", _HINT)
    return int(value)


FAMILY = Family(
    architecture="LlavaOnevisionForConditionalGeneration",
    dialect="edgecritic-v1",
    prefixes=(
        # Files of transformers 4.x; 5.x writes them so, too, but leaves "vision_model." out.
        Prefix("language_model.model.", "language", "model."),
        Prefix("language_model.lm_head.", "language", "lm_head."),
        Prefix("vision_tower.vision_model.", "vision"),
        Prefix("vision_tower.", "vision"),
        Prefix("multi_modal_projector.", "projector"),
        Prefix("image_newline", "newline"),
        # The modules of a loaded model.
        Prefix("model.language_model.", "language", "model."),
        Prefix("lm_head.", "language", "lm_head."),
        Prefix("model.vision_tower.vision_model.", "vision"),
        Prefix("model.vision_tower.", "vision"),
        Prefix("model.multi_modal_projector.", "projector"),
        Prefix("model.image_newline", "newline"),
    ),
    read=_read,
)
