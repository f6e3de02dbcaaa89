"""Writes a trained critic as a folder that transformers loads by itself.

Command line: ``edgecritic train hf RUN --language-model GGUF --out FOLDER``, or ``edgecritic train
hf embedded --out FOLDER`` for the critic that ships with the package.

The adapter is merged into the dequantised language model, in float32: one call of
`LlavaOnevisionForConditionalGeneration.from_pretrained` gives the whole critic, peft is not
needed, and nothing is rounded, so the folder can serve as the reference for every engine.
``--without-adapter`` leaves the language model as it was: a base that sees, and has not learned to
judge.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecritic.bundle import MANIFEST, Bundle
from edgecritic.errors import InputError
from edgecritic.prompts import ImageSlot, Prompt
from edgecritic.vision import ImageGeometry
from edgecritic_train.embedded.bundled import load_bundle
from edgecritic_train.embedded.config import embedded_geometry
from edgecritic_train.embedded.language_model import build_tokenizer, field, open_gguf
from edgecritic_train.embedded.model import IMAGE_TOKEN, VIDEO_TOKEN
from edgecritic_train.embedded.train import WEIGHTS, load_critic

if TYPE_CHECKING:
    from peft import PeftModel
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
    return PreTrainedTokenizerFast(
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


def write_folder(critic: PeftModel, language_model: Path, out: Path, *, adapter: bool) -> None:
    """Write model, tokenizer and processor settings.

    Args:
        critic: is taken apart.
        language_model: the GGUF file that it was trained over.
        out: made if need be.
        adapter: merge it, or leave it out.
    """
    taken_apart: Any = critic.merge_and_unload if adapter else critic.unload
    geometry = embedded_geometry()
    taken_apart().save_pretrained(out)
    transformers_tokenizer(language_model).save_pretrained(out)
    settings = {
        "preprocessor_config.json": image_settings(geometry),
        "processor_config.json": processor_settings(geometry),
    }
    for name, content in settings.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def open_critic(source: str, language_model: Path | None) -> tuple[PeftModel, Path]:
    """A critic and its language model's file.

    Args:
        source: ``embedded``, a bundle's folder, or a run's folder with ``critic.safetensors``.
        language_model: the GGUF file that a run was trained over; a bundle names its own.

    Raises:
        CriticError: it cannot be loaded.
    """
    if source == "embedded" or (Path(source) / MANIFEST).is_file():
        bundle = Bundle.embedded() if source == "embedded" else Bundle.read(source)
        return load_bundle(bundle), bundle.file("language_model")
    if language_model is None:
        raise InputError(
            f"{source} is no bundle, and the language model of a run is not known",
            "give --language-model, or name a bundle, such as embedded",
        )
    return load_critic(Path(source) / WEIGHTS, language_model), language_model


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="edgecritic train hf", description="Writes a critic as a folder for transformers."
    )
    parser.add_argument("critic", help="embedded, a bundle's folder, or a run's folder")
    parser.add_argument("--language-model", type=Path, help="of a run: the GGUF file below it")
    parser.add_argument(
        "--without-adapter", action="store_true", help="leave the language model as it was"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    critic, language_model = open_critic(options.critic, options.language_model)
    write_folder(critic, language_model, options.out, adapter=not options.without_adapter)
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
