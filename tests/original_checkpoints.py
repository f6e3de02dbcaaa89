"""Tiny checkpoints as LLaVA-NeXT saves them, made from tiny ones of transformers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from edgecritic_export.checkpoints.llava_next.settings import SiglipShape
from tiny_checkpoints import PATCH_SIZE, PINPOINTS, SPECIAL_TOKENS, TEXT_SHAPE, TILE_SIZE

TOWER_NAME = "tiny/siglip"
# transformers' names (as 5.x writes them) to LLaVA-NeXT's, written down apart from the importer.
ORIGINAL_NAMES = (
    (r"language_model\.model\.(.*)", r"model.\1"),
    (r"language_model\.lm_head\.(.*)", r"lm_head.\1"),
    (r"vision_tower\.(.*)", r"model.vision_tower.vision_tower.vision_model.\1"),
    (r"multi_modal_projector\.linear_1\.(.*)", r"model.mm_projector.0.\1"),
    (r"multi_modal_projector\.linear_2\.(.*)", r"model.mm_projector.2.\1"),
    (r"image_newline", r"model.image_newline"),
)


def towers(layers: int) -> dict[str, SiglipShape]:
    """The tiny tower, as if its own checkpoint had as many layers."""
    return {TOWER_NAME: SiglipShape(32, 48, layers, 2, TILE_SIZE, PATCH_SIZE)}


def original_name(name: str) -> str:
    """LLaVA-NeXT's name of a transformers tensor."""
    for pattern, target in ORIGINAL_NAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, target, name)
    raise AssertionError(name)


def original_config(**changes: Any) -> dict[str, Any]:
    """A ``config.json`` like that of lmms-lab/llava-onevision-qwen2-7b-ov."""
    return {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava",
        **TEXT_SHAPE,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "rope_scaling": None,
        "sliding_window": 2048,
        "use_sliding_window": False,
        "max_window_layers": 28,
        "tie_word_embeddings": False,
        "bos_token_id": 259,
        "eos_token_id": 261,
        "image_aspect_ratio": "anyres_max_3",
        "image_grid_pinpoints": [[width, height] for height, width in PINPOINTS],
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": TOWER_NAME,
        "torch_dtype": "bfloat16",
        **changes,
    }


def write_original(transformers_folder: Path, folder: Path, **config: Any) -> None:
    """Write the weights of a transformers folder as LLaVA-NeXT does, in two shards."""
    folder.mkdir()
    state = {
        original_name(name): tensor
        for name, tensor in load_file(transformers_folder / "model.safetensors").items()
    }
    shards: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for number, (name, tensor) in enumerate(state.items()):
        shards[number % 2][name] = tensor
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    _write(folder / "config.json", original_config(**config))
    write_original_tokenizer(transformers_folder, folder)


def write_original_tokenizer(
    transformers_folder: Path, folder: Path, *, slow: bool = False
) -> None:
    """The tokenizer without <image> and <video>: ``tokenizer.json``, or what older ones have."""
    tokenizer = json.loads((transformers_folder / "tokenizer.json").read_text())
    text_tokens = SPECIAL_TOKENS[:3]
    added = [token for token in tokenizer["added_tokens"] if token["content"] in text_tokens]
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": 2048}
    if slow:
        settings["added_tokens_decoder"] = {
            str(token["id"]): {"content": token["content"]} for token in added
        }
        _write(folder / "vocab.json", tokenizer["model"]["vocab"])
        merges = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    else:
        _write(folder / "tokenizer.json", {**tokenizer, "added_tokens": added})
    _write(folder / "tokenizer_config.json", settings)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
