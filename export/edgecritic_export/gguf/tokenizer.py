"""A checkpoint's byte-level BPE tokenizer as the metadata that llama.cpp builds its own from.

llama.cpp does not interpret a tokenizer's definition: it has a fixed list of ways to cut a text
into words, each with a name. So the definition is compared with those that are known to give the
same tokens, and any other is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from edgecritic.backends.llamacpp.artifacts import NORMALIZER
from edgecritic.errors import ArtifactError, shown
from edgecritic.vocabulary_layout import (
    CONTROL,
    NORMAL,
    PRE_TOKENIZERS,
    UNUSED,
    USER_DEFINED,
    PreTokenizer,
)
from edgecritic_export.gguf.file import Value

_HINT: Final = "this exporter takes byte-level BPE tokenizers of Qwen2, SmolLM2, Llama 3 and GPT-2"
_Json: TypeAlias = Mapping[str, Any]


# Settings of the BPE itself that change tokens and that llama.cpp does not have.
_PLAIN_BPE: Final = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
)


def tokenizer_metadata(folder: Path, n_vocab: int, config: _Json) -> dict[str, Value]:
    """Read a checkpoint's tokenizer.

    Args:
        folder: holds ``tokenizer.json``; ``tokenizer_config.json`` and a chat template are read
            if they are there.
        n_vocab: rows of the embedding; ids behind the tokenizer's last become padding tokens.
        config: the parsed ``config.json``, for special ids that the tokenizer does not name.

    Returns:
        The ``tokenizer.*`` keys of a GGUF file.

    Raises:
        ArtifactError: the tokenizer is missing, damaged, or of a kind that llama.cpp would read
            differently.
    """
    where = folder / "tokenizer.json"
    definition = _read(where)
    settings = _read(folder / "tokenizer_config.json", optional=True)
    try:
        pre_tokenizer = _pre_tokenizer(definition, where)
        tokens, types = _vocabulary(definition, n_vocab, where)
        merges = tuple(map(_merge, definition["model"]["merges"]))
        adds_bos = _adds_bos(definition, settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{where} cannot be used: {error!r}", _HINT) from error
    metadata: dict[str, Value] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer.name,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        **_special_ids(tokens, settings, config, where),
        "tokenizer.ggml.add_bos_token": adds_bos,
    }
    if (template := _chat_template(folder, settings)) is not None:
        metadata["tokenizer.chat_template"] = template
    if definition.get("normalizer") is not None:
        metadata[NORMALIZER] = "NFC"
    return metadata


def _read(path: Path, *, optional: bool = False) -> _Json:
    if optional and not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError("it is no JSON object")
        return found
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", _HINT) from error


def _pre_tokenizer(definition: _Json, where: Path) -> PreTokenizer:
    model = definition["model"]
    strange = [key for key in _PLAIN_BPE if model.get(key)]
    if model.get("type") != "BPE" or strange:
        kind = f"a BPE with {strange[0]}" if strange else f"of type {shown(model.get('type'))}"
        raise ArtifactError(f"{where} is {kind}, not plain byte-level BPE", _HINT)
    if (definition.get("normalizer") or {"type": "NFC"}) != {"type": "NFC"}:
        raise ArtifactError(
            f"{where}: the normalizer {shown(definition['normalizer'])} is not NFC", _HINT
        )
    steps = _steps(definition.get("pre_tokenizer"))
    for known in PRE_TOKENIZERS:
        if known.steps == steps and known.ignore_merges == bool(model.get("ignore_merges")):
            return known
    raise ArtifactError(
        f"{where}: llama.cpp's names for pre-tokenizers do not include {steps!r} with "
        f"ignore_merges {bool(model.get('ignore_merges'))}, as far as this exporter knows",
        f"{_HINT}; a further one is an entry of PRE_TOKENIZERS, once its tokens were compared",
    )


def _steps(step: _Json | None) -> tuple[tuple[object, ...], ...]:
    """What of a pre-tokenizer's definition changes how a text is cut."""
    if step is None:
        return ()
    kind = step["type"]
    if kind == "Sequence":
        return tuple(inner for part in step["pretokenizers"] for inner in _steps(part))
    if kind == "ByteLevel" and not step["add_prefix_space"]:
        return ((kind, bool(step.get("use_regex", True))),)
    if kind == "Digits":
        return ((kind, bool(step["individual_digits"])),)
    if kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return ((kind, step["pattern"].get("Regex")),)
    return ((kind, json.dumps(step)),)


def _vocabulary(
    definition: _Json, n_vocab: int, where: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    by_id = {int(id_): (str(text), NORMAL) for text, id_ in definition["model"]["vocab"].items()}
    for added in definition["added_tokens"]:
        strips = [name for name in ("single_word", "lstrip", "rstrip") if added.get(name)]
        if strips:
            raise ArtifactError(
                f"{where}: the added token {shown(added['content'])} has {strips[0]}, "
                "which llama.cpp does not follow",
                f"set {strips[0]} to false if no text of the critic's holds it",
            )
        kind = CONTROL if added["special"] else USER_DEFINED
        by_id[int(added["id"])] = (str(added["content"]), kind)
    if not by_id or not 0 <= min(by_id) <= max(by_id) < n_vocab:
        raise ArtifactError(
            f"{where} has ids up to {max(by_id, default=-1)}, the model {n_vocab} embeddings",
            "the tokenizer belongs to another model, or tokens were added without resizing it",
        )
    # llama.cpp's own name for rows without a token.
    rows = [by_id.get(id_, (f"[PAD{id_}]", UNUSED)) for id_ in range(n_vocab)]
    return tuple(text for text, _ in rows), tuple(kind for _, kind in rows)


def _merge(merge: str | Sequence[str]) -> str:
    if isinstance(merge, str):
        return merge
    left, right = merge
    return f"{left} {right}"


def _special_ids(
    tokens: Sequence[str], settings: _Json, config: _Json, where: Path
) -> dict[str, Value]:
    """Ids of the tokens that begin, end and fill sequences.

    Without a beginning llama.cpp would take token 11 for one, so the end stands in for it.
    """
    found: dict[str, int] = {}
    ids = {text: id_ for id_, text in enumerate(tokens)}
    text_config = config.get("text_config") or {}
    for name in ("bos", "eos", "pad"):
        entry = settings.get(f"{name}_token")
        text = entry.get("content") if isinstance(entry, Mapping) else entry
        named: object = ids.get(text) if isinstance(text, str) else None
        for source in (text_config, config):
            named = source.get(f"{name}_token_id") if named is None else named
        if isinstance(named, list) and named:
            named = named[0]
        if isinstance(named, int) and 0 <= named < len(tokens):
            found[name] = named
    if "eos" not in found:
        raise ArtifactError(
            f"{where.parent} names no token that ends a turn",
            "set eos_token in tokenizer_config.json",
        )
    keys = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
    found.setdefault("bos", found["eos"])
    return {f"tokenizer.ggml.{keys[name]}": id_ for name, id_ in sorted(found.items())}


def _adds_bos(definition: _Json, settings: _Json) -> bool:
    """Whether the tokenizer itself puts a token in front of every text."""
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    processor = definition.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        if step.get("type") == "TemplateProcessing" and "SpecialToken" in step["single"][0]:
            return True
    return False


def _chat_template(folder: Path, settings: _Json) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    templates = _read(folder / "chat_template.json", optional=True) or settings
    found = templates.get("chat_template")
    if isinstance(found, list):  # several, each with a name
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found if isinstance(found, str) else None
