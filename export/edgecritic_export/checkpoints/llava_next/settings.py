"""LLaVA-NeXT's settings as those files that transformers reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from edgecritic.errors import ArtifactError, shown

Settings: TypeAlias = Mapping[str, Any]

_HINT: Final = "import a critic of LLaVA-OneVision's kind: SigLIP, two linear layers, anyres_max_N"
_LANGUAGE_MODELS: Final = {"LlavaQwenForCausalLM": "qwen2", "LlavaLlamaForCausalLM": "llama"}
_TEXT_KEYS: Final = (
    "attention_bias",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "use_sliding_window",
    "vocab_size",
)


@dataclass(frozen=True, slots=True)
class SiglipShape:
    """A SigLIP tower as its own checkpoint has it; LLaVA-NeXT's configuration only names it.

    Attributes:
        hidden_size: width.
        intermediate_size: width of the feed-forward block.
        num_hidden_layers: encoder layers, of which LLaVA-NeXT drops the last.
        num_attention_heads: heads.
        image_size: side of its input in pixels.
        patch_size: side of a patch in pixels.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int


TOWERS: Final[Mapping[str, SiglipShape]] = {
    "google/siglip-so400m-patch14-384": SiglipShape(1152, 4304, 27, 16, 384, 14),
}


def tower_shape(config: Settings, towers: Mapping[str, SiglipShape]) -> SiglipShape:
    """The tower that a configuration names; a local folder counts by its last part.

    Raises:
        ArtifactError: it is not known.
    """
    name = str(config.get("mm_vision_tower") or config.get("vision_tower"))
    by_last_part = {known.rpartition("/")[2]: shape for known, shape in towers.items()}
    shape = by_last_part.get(name.rstrip("/").rpartition("/")[2])
    if shape is None:
        raise ArtifactError(
            f"config.json: the vision tower is {shown(name)}, not one of {', '.join(towers)}", _HINT
        )
    return shape


def check_supported(config: Settings) -> None:
    """Check that LLaVA-OneVision computes the same as the original model.

    ``mm_vision_select_layer`` is not looked at: LLaVA-NeXT's SigLIP tower ignores it, drops its
    last layer and reads what the others give.

    Raises:
        ArtifactError: a setting asks for something else.
    """
    architectures = config.get("architectures") or ["none"]
    if config.get("model_type") == "llava_onevision":
        raise ArtifactError(
            "config.json: this checkpoint is in transformers' layout already",
            "export it as it is, without importing it",
        )
    if len(architectures) != 1 or architectures[0] not in _LANGUAGE_MODELS:
        raise ArtifactError(
            f"config.json: architectures is {shown(architectures)}, not one of "
            f"{', '.join(_LANGUAGE_MODELS)}",
            _HINT,
        )
    for key, wanted in (
        ("mm_projector_type", ("mlp2x_gelu",)),
        ("mm_patch_merge_type", ("spatial_unpad",)),
        ("mm_vision_select_feature", ("patch", None)),
        ("mm_resampler_type", ("identity", None)),
        ("mm_use_im_start_end", (False, None)),
        ("mm_use_im_patch_token", (False, None)),
        ("mm_newline_position", ("grid", None)),
    ):
        if config.get(key) not in wanted:
            raise ArtifactError(
                f"config.json: {key} is {shown(config.get(key))}, not {wanted[0]!r}", _HINT
            )
    if not re.fullmatch(r"anyres_max_\d+", str(config.get("image_aspect_ratio"))):
        raise ArtifactError(
            f"config.json: image_aspect_ratio is {shown(config.get('image_aspect_ratio'))}, "
            "not 'anyres_max_9'",
            _HINT,
        )


def transformers_config(
    config: Settings, tower: SiglipShape, stored_layers: int, tokens: Mapping[str, int], dtype: str
) -> dict[str, object]:
    """``config.json`` of the imported checkpoint.

    Args:
        config: the original one, checked.
        tower: shape of the vision tower.
        stored_layers: encoder layers in the checkpoint; usually the last is not saved, and where
            it is, the features are read one layer earlier.
        tokens: ids of ``<image>`` and ``<video>``.
        dtype: torch's name of the weights' type.

    Raises:
        ArtifactError: too few layers of the tower are stored, or the pinpoints make no sense.
    """
    used = tower.num_hidden_layers - 1
    if stored_layers not in (used, used + 1):
        raise ArtifactError(
            f"{stored_layers} layers of the vision tower are stored, {used} are needed",
            "save the checkpoint with its vision tower (unfreeze_mm_vision_tower), or fetch it "
            "again",
        )
    tied = bool(config.get("tie_word_embeddings", False))
    return {
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
        "torch_dtype": dtype,
        "tie_word_embeddings": tied,
        "image_token_index": tokens["<image>"],
        "video_token_index": tokens["<video>"],
        "image_grid_pinpoints": pinpoints(config.get("image_grid_pinpoints"), tower.image_size),
        "vision_aspect_ratio": config["image_aspect_ratio"],
        "vision_feature_layer": used - stored_layers - 1,
        "vision_feature_select_strategy": "full",
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "text_config": {
            "model_type": _LANGUAGE_MODELS[config["architectures"][0]],
            "torch_dtype": dtype,
            "tie_word_embeddings": tied,
            **{key: config[key] for key in _TEXT_KEYS if key in config},
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": tower.hidden_size,
            "image_size": tower.image_size,
            "intermediate_size": tower.intermediate_size,
            "layer_norm_eps": 1e-6,
            "num_attention_heads": tower.num_attention_heads,
            "num_channels": 3,
            "num_hidden_layers": stored_layers,
            "patch_size": tower.patch_size,
            "vision_use_head": False,
        },
    }


def pinpoints(original: object, side: int) -> list[list[int]]:
    """Transformers' (height, width) pairs from LLaVA-NeXT's (width, height) ones.

    The order stays, as the first of equally good ones wins.

    Args:
        original: pairs in pixels, those pairs as text, or a range of tiles: ``(1x1),...,(6x6)``.
        side: of a tile in pixels.

    Raises:
        ArtifactError: it is something else.
    """
    if isinstance(original, str):
        original = _from_text(original, side)
    pairs: list[Any] = original if isinstance(original, list) and original else [None]
    if not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(type(n) is int for n in pair)
        for pair in pairs
    ):
        raise ArtifactError(f"config.json: image_grid_pinpoints is {shown(original)}", _HINT)
    return [[height, width] for width, height in pairs]


def _from_text(text: str, side: int) -> list[list[int]]:
    numbers = [int(number) for number in re.findall(r"\d{1,6}", text)]
    compact = text.replace(" ", "")
    if re.fullmatch(r"\(\d+x\d+\),\.\.\.,\(\d+x\d+\)", compact):
        first_w, first_h, last_w, last_h = numbers
        widths, heights = range(first_w, last_w + 1), range(first_h, last_h + 1)
        return [[w * side, h * side] for w in widths for h in heights]
    pairs = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=False)]
    if re.fullmatch(r"(\(\d+x\d+\),?)+", compact):
        return [[w * side, h * side] for w, h in pairs]
    if re.fullmatch(r"\[([\[(]\d+,\d+[\])],?)+\]", compact):
        return pairs
    return []


def processor_files(config: Settings, tower: SiglipShape) -> dict[str, object]:
    """``preprocessor_config.json`` and ``processor_config.json`` beside an imported config."""
    image = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_grid_pinpoints": config["image_grid_pinpoints"],
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": tower.image_size, "width": tower.image_size},
    }
    processor = {
        "processor_class": "LlavaOnevisionProcessor",
        "image_token": "<image>",
        "video_token": "<video>",
        "num_image_tokens": (tower.image_size // tower.patch_size) ** 2,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": config["vision_aspect_ratio"],
    }
    return {"preprocessor_config.json": image, "processor_config.json": processor}
