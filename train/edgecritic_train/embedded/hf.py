"""Writes a trained critic as a folder that transformers loads by itself.

Command line: ``edgecritic train hf RUN --language-model GGUF --out FOLDER``.

The adapter is merged into the dequantised language model, in float32: one call of
`LlavaOnevisionForConditionalGeneration.from_pretrained` gives the whole critic, peft is not
needed, and nothing is rounded, so the folder can serve as the reference for every engine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecritic.prompts import ImageSlot, Prompt
from edgecritic.vision import ImageGeometry
from edgecritic_train.embedded.config import embedded_geometry
from edgecritic_train.embedded.language_model import build_tokenizer, field, open_gguf
from edgecritic_train.embedded.model import IMAGE_TOKEN, VIDEO_TOKEN
from edgecritic_train.embedded.train import WEIGHTS, load_critic

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def image_settings(geometry: ImageGeometry) -> dict[str, Any]:
    """Settings of transformers' image processor that cut pictures as `edgecritic.vision` does."""
    return {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "size": {"height": geometry.tile_size, "width": geometry.tile_size},
        "image_grid_pinpoints": [list(pinpoint) for pinpoint in geometry.pinpoints],
        "image_mean": list(geometry.mean),
        "image_std": list(geometry.std),
        "resample": {"bilinear": 2, "bicubic": 3}[geometry.resample],
        "rescale_factor": 1 / 255,
        **dict.fromkeys(
            ("do_convert_rgb", "do_resize", "do_pad", "do_rescale", "do_normalize"), True
        ),
    }


def processor_settings(geometry: ImageGeometry) -> dict[str, Any]:
    """Settings of transformers' processor: it writes as many image tokens as a picture takes."""
    return {
        "processor_class": "LlavaOnevisionProcessor",
        "image_token": IMAGE_TOKEN,
        "video_token": VIDEO_TOKEN,
        "num_image_tokens": geometry.patches_per_side**2,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": f"anyres_max_{geometry.anyres_max}",
    }


def transformers_tokenizer(language_model: Path) -> PreTrainedTokenizerFast:
    """The language model's tokenizer; the image token is one of its unused control tokens."""
    from transformers import PreTrainedTokenizerFast

    reader = open_gguf(language_model)
    tokens = field(reader, "tokenizer.ggml.tokens")
    end = tokens[field(reader, "tokenizer.ggml.eos_token_id")]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=build_tokenizer(language_model),
        bos_token=tokens[field(reader, "tokenizer.ggml.bos_token_id")],
        eos_token=end,
        pad_token=end,
        extra_special_tokens={"image_token": IMAGE_TOKEN, "video_token": VIDEO_TOKEN},
    )


def prompt_text(prompt: Prompt) -> str:
    """A rendered prompt as the text that transformers' processor takes.

    Unlike the runtime, a processor recognises control tokens anywhere: texts of strangers must
    not hold any.
    """
    return "".join(
        IMAGE_TOKEN if isinstance(piece, ImageSlot) else piece.text for piece in prompt.pieces
    )


def write_folder(run: Path, language_model: Path, out: Path) -> None:
    """Write model, tokenizer and processor settings.

    Args:
        run: folder with ``critic.safetensors`` and ``training.json``.
        language_model: the GGUF file that it was trained over.
        out: made if need be.

    Raises:
        CriticError: the run cannot be loaded.
    """
    model = load_critic(run / WEIGHTS, language_model).merge_and_unload()
    geometry = embedded_geometry()
    model.save_pretrained(out)
    transformers_tokenizer(language_model).save_pretrained(out)
    settings = {
        "preprocessor_config.json": image_settings(geometry),
        "processor_config.json": processor_settings(geometry),
    }
    for name, content in settings.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="edgecritic train hf", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--language-model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    write_folder(options.run, options.language_model, options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
