"""Qwen2.5-VL and the critics built on it: a tower for any resolution, a merger, Qwen2."""

from __future__ import annotations

from typing import Any, Final

from edgecritic.errors import ArtifactError, shown
from edgecritic.text_shape import Shape
from edgecritic.vision import NativeGeometry
from edgecritic.vision.native import CLIP_MEAN, CLIP_STD, FRAMES
from edgecritic_export.checkpoints.families import Family, Numbers, Part, Prefix, Settings
from edgecritic_export.checkpoints.text_shape import read_text_shape

_HINT: Final = "export a checkpoint of Qwen2.5-VL's kind"
_SMALLEST, _LARGEST = 56 * 56, 28 * 28 * 1280
"""Areas in pixels that transformers takes where a checkpoint has no image processor."""
_MOST_TOKENS: Final = 4096
"""Of one picture, whatever the checkpoint allows: llama.cpp's tower builds a mask of the square of
four times as many, which is 1 GB here and 17 GB at the 16,384 tokens of published checkpoints."""
_TOWER: Final = {
    "depth": 32,
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "out_hidden_size": 3584,
}


def _read(config: Settings, processor: Settings) -> Numbers:
    # 4.x keeps the language model's numbers at the top.
    section = config.get("text_config") or config
    tied = bool(config.get("tie_word_embeddings") or section.get("tie_word_embeddings"))
    text = read_text_shape("config.json", {**section, "model_type": "qwen2_5_vl_text"}, tied=tied)
    vision = _TOWER | (config.get("vision_config") or {})
    if (act := vision.get("hidden_act", "silu")) != "silu":
        raise ArtifactError(f"config.json: vision hidden_act is {shown(act)}, not 'silu'", _HINT)
    if _integer(vision, "out_hidden_size") != text.n_embd:
        raise ArtifactError(
            f"config.json: the merger gives {vision['out_hidden_size']} numbers, the language "
            f"model takes {text.n_embd}",
            _HINT,
        )
    shapes: dict[Part, dict[str, Shape]] = {
        "vision": _tower_shapes(vision),
        "projector": _merger_shapes(vision, text.n_embd),
    }
    return Numbers(text, _geometry(vision, processor), shapes)


def _geometry(vision: Settings, processor: Settings) -> NativeGeometry:
    sizes = {
        key: _integer(vision, f"spatial_{key}" if key == "merge_size" else key)
        for key in ("patch_size", "merge_size", "temporal_patch_size")
    }
    for key, wanted in sizes.items():
        if (found := processor.get(key, wanted)) != wanted:
            raise ArtifactError(
                f"the image processor has {key} {shown(found)}, config.json {wanted}",
                "take preprocessor_config.json and config.json from one checkpoint",
            )
    if sizes["temporal_patch_size"] != FRAMES:
        raise ArtifactError(
            f"config.json: temporal_patch_size is {sizes['temporal_patch_size']}, not {FRAMES}",
            _HINT,
        )
    edges = processor.get("size") or {}
    cell = sizes["patch_size"] * sizes["merge_size"]
    try:
        return NativeGeometry.from_dict(
            {
                "kind": NativeGeometry.KIND,
                "patch_size": sizes["patch_size"],
                "merge_size": sizes["merge_size"],
                # 4.x names the areas plainly, 5.x calls them edges.
                "min_pixels": processor.get("min_pixels") or edges.get("shortest_edge", _SMALLEST),
                "max_pixels": min(
                    processor.get("max_pixels") or edges.get("longest_edge", _LARGEST),
                    _MOST_TOKENS * cell**2,
                ),
                "mean": list(processor.get("image_mean") or CLIP_MEAN),
                "std": list(processor.get("image_std") or CLIP_STD),
                "resample": {2: "bilinear", 3: "bicubic"}.get(processor.get("resample", 3)),
            }
        )
    except (ArtifactError, TypeError) as error:
        raise ArtifactError(f"the image processor's settings cannot be used: {error}", _HINT) from (
            error
        )


def _tower_shapes(vision: Settings) -> dict[str, Shape]:
    width, hidden = _integer(vision, "hidden_size"), _integer(vision, "intermediate_size")
    patch, frames = _integer(vision, "patch_size"), _integer(vision, "temporal_patch_size")
    shapes: dict[str, Shape] = {"patch_embed.proj.weight": (width, 3, frames, patch, patch)}
    linear = {
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
    }
    for layer in range(_integer(vision, "depth")):
        for name, shape in linear.items():
            shapes[f"blocks.{layer}.{name}.weight"] = shape
            shapes[f"blocks.{layer}.{name}.bias"] = shape[:1]
        shapes |= {f"blocks.{layer}.{norm}.weight": (width,) for norm in ("norm1", "norm2")}
    return shapes


def _merger_shapes(vision: Settings, n_embd: int) -> dict[str, Shape]:
    width = _integer(vision, "hidden_size")
    merged = width * _integer(vision, "spatial_merge_size") ** 2
    return {
        "ln_q.weight": (width,),
        "mlp.0.weight": (merged, merged),
        "mlp.0.bias": (merged,),
        "mlp.2.weight": (n_embd, merged),
        "mlp.2.bias": (n_embd,),
    }


def _integer(section: Settings, key: str) -> int:
    value: Any = section.get(key)
    if type(value) is not int or value < 1:
        raise ArtifactError(f"config.json: {key} is {shown(value)}, not a number above 0", _HINT)
    return int(value)


FAMILY = Family(
    architecture="Qwen2_5_VLForConditionalGeneration",
    dialect="edgecritic-qwen-v1",
    prefixes=(
        Prefix("visual.merger.", "projector"),
        Prefix("visual.", "vision"),
        Prefix("model.visual.merger.", "projector"),
        Prefix("model.visual.", "vision"),
        Prefix("lm_head.", "language", "lm_head."),
        Prefix("model.language_model.", "language", "model."),
        Prefix("model.", "language", "model."),  # 4.x, whose other parts are outside of "model."
    ),
    read=_read,
)
