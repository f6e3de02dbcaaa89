"""The tokenizer of an imported checkpoint, with the tokens that stand for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.folder import read_json

MEDIA_TOKENS: Final = ("<image>", "<video>")
# How Qwen2 cuts text before it looks for merges (its published tokenizer.json).
_QWEN2_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Pictures come before the words of a turn; without a system turn Qwen's usual one is put in front.
CHAT_TEMPLATE: Final = """\
{%- if messages and messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for turn in messages -%}
{{- '<|im_start|>' ~ turn['role'] ~ '\\n' -}}
{%- if turn['content'] is string -%}
{{- turn['content'] -}}
{%- else -%}
{%- for kind in ('image', 'video') -%}
{%- for piece in turn['content'] if piece['type'] == kind -%}
{{- '<' ~ kind ~ '>\\n' -}}
{%- endfor -%}
{%- endfor -%}
{%- for piece in turn['content'] if piece['type'] == 'text' -%}
{{- piece['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def imported_tokenizer(folder: Path, *, qwen2: bool) -> dict[str, Any]:
    """``tokenizer.json`` with ``<image>`` and ``<video>`` as control tokens.

    Args:
        folder: of the original checkpoint.
        qwen2: its text is cut like Qwen2's, so ``vocab.json`` and ``merges.txt`` say the rest.

    Raises:
        ArtifactError: there is no tokenizer that can be read.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = read_json(folder / "tokenizer.json")
    elif qwen2 and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = _from_vocabulary(folder)
    else:
        raise ArtifactError(
            f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt",
            "copy the tokenizer's files of the base language model into the folder",
        )
    added = tokenizer.setdefault("added_tokens", [])
    for content in MEDIA_TOKENS:
        if content not in token_ids(tokenizer):
            added.append(_control_token(max(token_ids(tokenizer).values()) + 1, content))
    return tokenizer


def token_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Ids of all tokens of a ``tokenizer.json``.

    Raises:
        ArtifactError: it holds no vocabulary.
    """
    try:
        added = {str(token["content"]): int(token["id"]) for token in tokenizer["added_tokens"]}
        ids = {**tokenizer["model"]["vocab"], **added}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"tokenizer.json holds no vocabulary: {error!r}", "fetch the checkpoint again"
        ) from error
    return ids


def tokenizer_settings(folder: Path, *, qwen2: bool) -> dict[str, object]:
    """``tokenizer_config.json``: what the original says of its special tokens, and our template."""
    path = folder / "tokenizer_config.json"
    original = read_json(path) if path.is_file() else {}
    kept = ("bos_token", "eos_token", "pad_token", "unk_token", "model_max_length")
    return {
        "add_bos_token": bool(original.get("add_bos_token", False)),
        "clean_up_tokenization_spaces": False,
        **{key: original[key] for key in kept if key in original},
        "padding_side": "left",
        "processor_class": "LlavaOnevisionProcessor",
        "tokenizer_class": "Qwen2Tokenizer" if qwen2 else "PreTrainedTokenizerFast",
    }


def _from_vocabulary(folder: Path) -> dict[str, Any]:
    vocabulary = read_json(folder / "vocab.json")
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder / 'merges.txt'} cannot be read: {error}", "fetch the checkpoint again"
        ) from error
    merges = [line for line in lines if line and not line.startswith("#version")]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    byte_level |= {"use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(folder),
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": _QWEN2_WORDS},
                    "behavior": "Isolated",
                    "invert": False,
                },
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _added_tokens(folder: Path) -> list[dict[str, object]]:
    """Control tokens of a slow tokenizer, in the order of their ids."""
    settings = folder / "tokenizer_config.json"
    decoder = read_json(settings).get("added_tokens_decoder", {}) if settings.is_file() else {}
    by_id = {int(index): str(token["content"]) for index, token in decoder.items()}
    if not by_id and (folder / "added_tokens.json").is_file():
        by_id = {int(i): content for content, i in read_json(folder / "added_tokens.json").items()}
    if not by_id:
        raise ArtifactError(
            f"{folder} does not list its control tokens, such as <|im_end|>",
            "copy tokenizer.json of the base language model into the folder",
        )
    return [_control_token(index, content) for index, content in sorted(by_id.items())]


def _control_token(index: int, content: str) -> dict[str, object]:
    return {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
