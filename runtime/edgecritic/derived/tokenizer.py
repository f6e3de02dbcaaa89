"""The vocabulary in a GGUF file as a ``tokenizer.json`` that gives the same tokens."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgecritic.backends.llamacpp.artifacts import NORMALIZER
from edgecritic.errors import ArtifactError, shown
from edgecritic.gguf_header import DAMAGED_HINT, GgufHeader
from edgecritic.vocabulary_layout import (
    CONTROL,
    PRE_TOKENIZERS,
    UNUSED,
    USER_DEFINED,
    PreTokenizer,
)

_PREFIX: Final = "tokenizer.ggml"
_BYTE_LEVEL: Final[Mapping[str, Any]] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
}


def tokenizer_json(header: GgufHeader) -> str:
    """The text of a ``tokenizer.json``.

    Args:
        header: of a language model with byte-level BPE.

    Raises:
        ArtifactError: its text is cut into words in a way that is not known here, or its
            vocabulary is damaged.
    """
    pre = _pre_tokenizer(header)
    tokens = _strings(header, f"{_PREFIX}.tokens")
    kinds = _kinds(header, len(tokens))
    merges = _strings(header, f"{_PREFIX}.merges")
    if any(merge.count(" ") != 1 for merge in merges):
        raise ArtifactError(f"{header.path}: a merge does not name two tokens", DAMAGED_HINT)
    added = [
        _added(index, text, special=kind == CONTROL)
        for index, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    known = zip(range(len(tokens)), tokens, kinds, strict=True)
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if header.metadata.get(NORMALIZER) == "NFC" else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [_step(kind, setting) for kind, setting in pre.steps],
        },
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.ignore_merges,
            "vocab": {text: index for index, text, kind in known if kind != UNUSED},
            "merges": merges,
        },
    }
    return json.dumps(definition, ensure_ascii=False)


def end_settings(header: GgufHeader) -> str:
    """The text of a ``generation_config.json`` with the token that ends a turn."""
    end = header.metadata.get(f"{_PREFIX}.eos_token_id")
    return json.dumps({"eos_token_id": end} if isinstance(end, int) else {})


def _pre_tokenizer(header: GgufHeader) -> PreTokenizer:
    name = header.text(f"{_PREFIX}.pre")
    for known in PRE_TOKENIZERS:
        if known.name == name:
            return known
    raise ArtifactError(
        f"{header.path}: text is cut into words by {shown(name)}, known are "
        f"{', '.join(known.name for known in PRE_TOKENIZERS)}",
        "judge with llama.cpp: pip install 'edgecritic[llama]'",
    )


def _step(kind: object, setting: object) -> Mapping[str, Any]:
    """A step of `PreTokenizer.steps` as ``tokenizer.json`` writes it."""
    if kind == "Split":
        pattern = {"Regex": setting}
        return {"type": kind, "pattern": pattern, "behavior": "Isolated", "invert": False}
    if kind == "Digits":
        return {"type": kind, "individual_digits": setting}
    return {**_BYTE_LEVEL, "use_regex": setting}


def _added(index: int, text: str, *, special: bool) -> Mapping[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **plain, "special": special}


def _kinds(header: GgufHeader, n_tokens: int) -> Sequence[int]:
    claim = header.array(f"{_PREFIX}.token_type", "int32")
    with header.path.open("rb") as file:
        file.seek(claim.start)
        kinds = np.frombuffer(file.read(4 * claim.length), dtype="<i4")
    if len(kinds) != n_tokens:
        raise ArtifactError(
            f"{header.path}: {len(kinds)} of {n_tokens} tokens have a kind", DAMAGED_HINT
        )
    found: list[int] = kinds.tolist()
    return found


def _strings(header: GgufHeader, key: str) -> list[str]:
    """The array's texts; the header's reader has made sure that they lie in the file."""
    claim = header.array(key, "string")
    content = np.memmap(header.path, dtype=np.uint8, mode="r").data
    length_at = struct.Struct("<Q").unpack_from
    at = claim.start
    texts = []
    for _ in range(claim.length):
        start = at + 8
        at = start + length_at(content, at)[0]
        texts.append(bytes(content[start:at]))
    try:
        return [text.decode("utf-8") for text in texts]
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{header.path}: {key} is not UTF-8", DAMAGED_HINT) from error
