"""The settings files that transformers.js reads beside the graphs, and the prompts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError, shown
from edgecritic.graphs.decoder import DECODER, EMBED_TOKENS
from edgecritic.graphs.model_file import DATA_SUFFIX
from edgecritic.prompts import Dialect
from edgecritic.staging import write_text
from edgecritic.vision import ImageGeometry
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.precision import DTYPES, SUFFIXES, VariantSpec
from edgecritic_export.onnx.vision import VISION_ENCODER

Settings = Mapping[str, Any]

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
PROMPTS: Final = "prompts.json"
"""A prompt dialect for those who cannot read Python's package data."""
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_GENERATION: Final = "generation_config.json"
_CHAT_TEMPLATE: Final = "chat_template.jinja"
_FETCH: Final = "fetch the checkpoint again"


def graph_names(spec: VariantSpec) -> dict[str, str]:
    """File name of each of a variant's graphs, by transformers.js' name of the part."""
    suffixes = {
        DECODER: spec.decoder_suffix,
        EMBED_TOKENS: SUFFIXES[spec.embed_tokens],
        VISION_ENCODER: SUFFIXES[spec.vision],
    }
    return {name: f"{name}{suffix}.onnx" for name, suffix in suffixes.items()}


def model_config(checkpoint: Checkpoint, spec: VariantSpec, onnx: Path) -> Settings:
    """The checkpoint's ``config.json``, with what transformers.js needs to find a variant.

    Args:
        checkpoint: of the critic.
        spec: the variant that is loaded when none is asked for.
        onnx: folder of the graphs; those whose weights lie apart are listed.
    """
    apart = sorted(path.name.removesuffix(DATA_SUFFIX) for path in onnx.glob(f"*{DATA_SUFFIX}"))
    return {
        **checkpoint.config,
        "transformers.js_config": {
            "dtype": {
                DECODER: spec.decoder_dtype,
                EMBED_TOKENS: DTYPES[spec.embed_tokens],
                VISION_ENCODER: DTYPES[spec.vision],
            },
            "use_external_data_format": dict.fromkeys(apart, 1),
        },
    }


def write_settings(checkpoint: Checkpoint, dialect: Dialect, folder: Path) -> tuple[Path, ...]:
    """Write everything but ``config.json``: tokenizer, processors, generation, prompts.

    Args:
        checkpoint: of the critic.
        dialect: the prompts it was trained with.
        folder: exists.

    Returns:
        The files written, the tokenizer first.

    Raises:
        ArtifactError: the checkpoint has no ``tokenizer.json``, or it lacks the image token.
    """
    if not isinstance(checkpoint.geometry, ImageGeometry):
        raise ArtifactError(f"{checkpoint.folder} has no image geometry", "export it to GGUF")
    source = checkpoint.folder / TOKENIZER
    try:
        tokenizer = source.read_text(encoding="utf-8")
    except OSError as error:
        raise ArtifactError(
            f"{source} cannot be read: {error}", "save the tokenizer with save_pretrained"
        ) from error
    image_token = _token_text(source, _image_token_id(checkpoint))
    contents = {
        TOKENIZER: tokenizer,
        _TOKENIZER_CONFIG: dumps(_tokenizer_config(checkpoint, dialect, image_token)),
        "preprocessor_config.json": dumps(_image_processor(checkpoint.geometry)),
        "processor_config.json": dumps(_processor(checkpoint.geometry, image_token)),
        _GENERATION: dumps(_generation_config(checkpoint)),
        PROMPTS: dumps(prompt_settings(dialect)),
    }
    for name, content in contents.items():
        write_text(folder / name, content)
    return tuple(folder / name for name in contents)


def prompt_settings(dialect: Dialect) -> Settings:
    """A dialect as JSON-ready values, under the names of `edgecritic.prompts.Dialect`."""
    return {
        "name": dialect.name,
        "digest": dialect.digest,
        "system": dialect.system,
        "reason_first": dialect.reason_first,
        "turn_open": dialect.turn_open,
        "turn_close": dialect.turn_close,
        "answers": {
            setting: {"answer": form.answer, "reason": form.reason}
            for setting, form in dialect.answers.items()
        },
        "labels": dict(dialect.labels),
        "wordings": {setting: list(texts) for setting, texts in dialect.wordings.items()},
    }


def _image_token_id(checkpoint: Checkpoint) -> int:
    for key in ("image_token_index", "image_token_id"):
        if type(found := checkpoint.config.get(key)) is int:
            return found
    raise ArtifactError(f"{checkpoint.folder / CONFIG} names no image_token_index", _FETCH)


def _token_text(path: Path, token: int) -> str:
    tokenizer = _read(path)
    for added in tokenizer.get("added_tokens") or ():
        if added["id"] == token:
            return str(added["content"])
    raise ArtifactError(
        f"{path} has no control token {token}, which config.json names for pictures",
        "take tokenizer.json and config.json from one checkpoint",
    )


def _tokenizer_config(checkpoint: Checkpoint, dialect: Dialect, image_token: str) -> Settings:
    path = checkpoint.folder / _TOKENIZER_CONFIG
    found = _read(path) if path.is_file() else {}
    if isinstance(found.get("chat_template"), str):
        return found
    apart = checkpoint.folder / _CHAT_TEMPLATE
    if apart.is_file():
        return {**found, "chat_template": apart.read_text(encoding="utf-8")}
    return {**found, "chat_template": _chat_template(dialect, image_token)}


def _chat_template(dialect: Dialect, image_token: str) -> str:
    """A Jinja template of the dialect's turns, for a checkpoint that came without one."""
    before_role, _, after_role = dialect.turn_open.partition("{role}")

    def opened(role: str) -> str:
        return f"{{{{ {json.dumps(before_role)} + {role} + {json.dumps(after_role)} }}}}"

    return (
        "{% for message in messages %}"
        + opened("message['role']")
        + "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}"
        f"{{{{ {json.dumps(image_token)} }}}}"
        "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
        f"{{{{ {json.dumps(dialect.turn_close)} }}}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}" + opened("'assistant'") + "{% endif %}"
    )


def _image_processor(geometry: ImageGeometry) -> Settings:
    return {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"height": geometry.tile_size, "width": geometry.tile_size},
        "image_grid_pinpoints": [list(pinpoint) for pinpoint in geometry.pinpoints],
        "image_mean": list(geometry.mean),
        "image_std": list(geometry.std),
        "resample": {"bilinear": 2, "bicubic": 3}[geometry.resample],
        "rescale_factor": 1 / 255,
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": False,
    }


def _processor(geometry: ImageGeometry, image_token: str) -> Settings:
    """transformers.js gives a picture its base tile's patches, and no newline."""
    return {
        "processor_class": "LlavaProcessor",
        "image_token": image_token,
        "patch_size": geometry.patch_size,
        "num_additional_image_tokens": 0,
        "num_image_tokens": geometry.patches_per_side**2,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": (
            "anyres" if geometry.anyres_max is None else f"anyres_max_{geometry.anyres_max}"
        ),
    }


def _generation_config(checkpoint: Checkpoint) -> Settings:
    path = checkpoint.folder / _GENERATION
    if path.is_file():
        return _read(path)
    text = checkpoint.config["text_config"]
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: text[name] for name in names if text.get(name) is not None}


def _read(path: Path) -> dict[str, Any]:
    """A settings file; unlike critic.json it may hold any number (transformers writes 10**30)."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", _FETCH) from error
    if not isinstance(settings, dict):
        raise ArtifactError(f"{path} is {shown(settings)}, not an object", _FETCH)
    return settings


def dumps(settings: Settings) -> str:
    """A settings file's text."""
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
