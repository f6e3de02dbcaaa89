"""Random checkpoint folders of the real architectures, written by transformers itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"))
SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    *("<|vision_start|>", "<|vision_end|>"),
)
FIRST_SPECIAL = 256 + len(MERGES)
IMAGE_TOKEN_ID = FIRST_SPECIAL + SPECIAL_TOKENS.index("<image>")
VIDEO_TOKEN_ID = FIRST_SPECIAL + SPECIAL_TOKENS.index("<video>")
N_VOCAB = 272  # like Qwen2, more rows than tokens
TILE_SIZE, PATCH_SIZE = 28, 7
PINPOINTS = [[28, 56], [56, 28], [56, 56], [28, 84], [84, 28]]
# How Qwen2 cuts text into words.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXT_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": N_VOCAB,
    "max_position_embeddings": 2048,
}
TEXT_TOKENS: dict[str, Any] = {
    "bos_token_id": FIRST_SPECIAL,
    "eos_token_id": FIRST_SPECIAL + 2,
    "pad_token_id": FIRST_SPECIAL,
}


def write_llava_onevision(
    folder: Path,
    *,
    text: Literal["qwen2", "llama"] = "qwen2",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    tied: bool = False,
    seed: int = 0,
    shard_size: str = "5GB",
) -> None:
    """Write a LLaVA-OneVision folder; compare with ``from_pretrained(folder)``."""
    text_config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[text](
        **TEXT_SHAPE, **TEXT_TOKENS, rms_norm_eps=1e-6, tie_word_embeddings=tied
    )
    vision_config = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=TILE_SIZE,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision_config,
        text_config=text_config,
        image_token_index=IMAGE_TOKEN_ID,
        video_token_index=VIDEO_TOKEN_ID,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_3",
        tie_word_embeddings=tied,
    )
    _save(LlavaOnevisionForConditionalGeneration(config), folder, dtype, seed, shard_size)
    write_tokenizer(folder)
    _write_json(folder / "preprocessor_config.json", IMAGE_PROCESSOR)
    _write_json(folder / "processor_config.json", PROCESSOR)


def write_qwen2_5_vl(
    folder: Path,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    tied: bool = False,
    seed: int = 0,
) -> None:
    """Write a Qwen2.5-VL folder; some blocks attend to windows, and some to the whole picture."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "window_size": 112,
        "fullatt_block_indexes": [1, 3],
    }
    config = Qwen2_5_VLConfig(
        text_config={**TEXT_SHAPE, **TEXT_TOKENS, "rms_norm_eps": 1e-6, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE_TOKEN_ID,
        video_token_id=VIDEO_TOKEN_ID,
        tie_word_embeddings=tied,
    )
    _save(Qwen2_5_VLForConditionalGeneration(config), folder, dtype, seed, "5GB")
    write_tokenizer(folder)
    _write_json(folder / "preprocessor_config.json", NATIVE_PROCESSOR)


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and its settings: byte-level BPE that cuts text as Qwen2 does."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(words)},
            merges=list(MERGES),
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "model_max_length": 2048,
        "add_bos_token": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)


IMAGE_PROCESSOR: dict[str, Any] = {
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "size": {"height": TILE_SIZE, "width": TILE_SIZE},
    "image_grid_pinpoints": PINPOINTS,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    **dict.fromkeys(("do_convert_rgb", "do_resize", "do_pad", "do_rescale", "do_normalize"), True),
}
NATIVE_PROCESSOR: dict[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 56 * 56,
    "max_pixels": 60 * 28 * 28,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
PROCESSOR: dict[str, Any] = {
    "processor_class": "LlavaOnevisionProcessor",
    "image_token": "<image>",
    "video_token": "<video>",
    "num_image_tokens": (TILE_SIZE // PATCH_SIZE) ** 2,
    "vision_feature_select_strategy": "full",
    "vision_aspect_ratio": "anyres_max_3",
}


def _save(model: PreTrainedModel, folder: Path, dtype: str, seed: int, shard_size: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        # As large as in a trained model: with the default 0.02 every difference would look small.
        with torch.no_grad():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                scale = 1.0 if "embed_tokens" in name else parameter.shape[-1] ** -0.5
                parameter.normal_(std=scale, generator=generator)
    os.makedirs(folder, exist_ok=True)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard_size)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
