"""The numbers of a Llama or Qwen2 language model, from configurations old and new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgecritic.errors import ArtifactError, shown
from edgecritic.text_shape import Architecture, TextShape

# What transformers takes where a configuration leaves a number out, as those of 4.x often do.
_QWEN2: Final[dict[str, object]] = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 22_016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}
_DEFAULTS: Final[Mapping[str, tuple[Architecture, dict[str, object]]]] = {
    "qwen2": ("qwen2", _QWEN2),
    "llama": (
        "llama",
        _QWEN2
        | {
            "vocab_size": 32_000,
            "intermediate_size": 11_008,
            "num_key_value_heads": None,
            "max_position_embeddings": 2048,
        },
    ),
    "qwen2_5_vl_text": (
        "qwen2",
        _QWEN2
        | {
            "vocab_size": 152_064,
            "hidden_size": 8192,
            "intermediate_size": 29_568,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1_000_000.0,
        },
    ),
}
_ROPE_HINT: Final = "only unscaled rotary embeddings are exported; choose another base model"


def read_text_shape(where: str, section: Mapping[str, Any], *, tied: bool) -> TextShape:
    """Read a language model's configuration, of transformers 4.x or 5.x.

    Args:
        where: its place, for messages.
        section: the ``text_config``; its ``model_type`` is one of qwen2, llama, qwen2_5_vl_text.
        tied: the head is the token embedding.

    Raises:
        ArtifactError: another language model, or one that computes something else.
    """
    kind = section.get("model_type")
    if not isinstance(kind, str) or kind not in _DEFAULTS:
        raise ArtifactError(
            f"{where}: language model {shown(kind)} is not one of {', '.join(_DEFAULTS)}",
            "export a critic whose language model is Qwen2 or Llama",
        )
    architecture, defaults = _DEFAULTS[kind]
    numbers = _Numbers(where, section, defaults)
    _check_computation(where, section, architecture)
    n_embd, n_head = numbers.count("hidden_size"), numbers.count("num_attention_heads")
    theta, mrope_section = _rope(where, section, defaults, multimodal=kind == "qwen2_5_vl_text")
    shape = TextShape(
        architecture=architecture,
        n_layers=numbers.count("num_hidden_layers"),
        n_embd=n_embd,
        n_ff=numbers.count("intermediate_size"),
        n_head=n_head,
        n_head_kv=numbers.count("num_key_value_heads", n_head),
        head_dim=numbers.count("head_dim", n_embd // n_head),
        n_vocab=numbers.count("vocab_size"),
        rms_eps=numbers.real("rms_norm_eps"),
        rope_theta=theta,
        n_ctx=numbers.count("max_position_embeddings"),
        tied=tied,
        mrope_section=mrope_section,
    )
    if n_head % shape.n_head_kv or (mrope_section and 2 * sum(mrope_section) != shape.head_dim):
        raise ArtifactError(
            f"{where}: {n_head} query heads, {shape.n_head_kv} key heads of width "
            f"{shape.head_dim} and mrope_section {list(mrope_section)} do not fit together",
            "config.json is damaged: fetch the checkpoint again",
        )
    return shape


class _Numbers:
    def __init__(self, where: str, section: Mapping[str, Any], defaults: dict[str, object]) -> None:
        self._where = where
        self._section = defaults | {k: v for k, v in section.items() if v is not None}

    def count(self, key: str, default: int | None = None) -> int:
        value = self._section.get(key)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            raise self._wrong(key, value)
        return value

    def real(self, key: str) -> float:
        value = self._section.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self._wrong(key, value)
        return float(value)

    def _wrong(self, key: str, value: object) -> ArtifactError:
        return ArtifactError(
            f"{self._where}: {key} is {shown(value)}, not a number above 0",
            "config.json is damaged: fetch the checkpoint again",
        )


def _check_computation(where: str, section: Mapping[str, Any], architecture: Architecture) -> None:
    if section.get("hidden_act", "silu") != "silu":
        raise ArtifactError(
            f"{where}: hidden_act is {shown(section['hidden_act'])}, not 'silu'",
            "export a critic whose language model is Qwen2 or Llama",
        )
    if architecture == "llama" and (section.get("attention_bias") or section.get("mlp_bias")):
        raise ArtifactError(
            f"{where}: this Llama has biases on its projections",
            "export a critic whose language model is Qwen2 or a Llama without biases",
        )
    layers = section.get("layer_types") or ()
    older = not layers and section.get("use_sliding_window") is True
    # Below max_window_layers every layer attends to everything.
    slides = older and section.get("max_window_layers", 28) < section.get("num_hidden_layers", 32)
    if slides or set(layers) - {"full_attention"}:
        raise ArtifactError(
            f"{where}: some layers attend to a sliding window of {section.get('sliding_window')}",
            "no engine here computes that; the critic families have use_sliding_window false",
        )


def _rope(
    where: str, section: Mapping[str, Any], defaults: Mapping[str, object], *, multimodal: bool
) -> tuple[float, tuple[int, ...]]:
    """Base frequency and sections; 5.x keeps both in ``rope_parameters``."""
    scaling = section.get("rope_parameters") or section.get("rope_scaling") or {}
    kinds = {scaling.get("type", "default"), scaling.get("rope_type", "default")} - {"default"}
    if kinds - ({"mrope"} if multimodal else set()):
        raise ArtifactError(f"{where}: rope scaling {shown(scaling)} is not known", _ROPE_HINT)
    theta = scaling.get("rope_theta", section.get("rope_theta", defaults["rope_theta"]))
    sections = tuple(scaling.get("mrope_section") or ())
    if multimodal != bool(sections) or len(sections) not in (0, 3):
        raise ArtifactError(f"{where}: mrope_section is {shown(sections)}", _ROPE_HINT)
    if isinstance(theta, bool) or not isinstance(theta, int | float) or theta <= 0:
        raise ArtifactError(f"{where}: rope_theta is {shown(theta)}", _ROPE_HINT)
    return float(theta), sections
