"""A vocabulary that cannot be carried over exactly is refused, and says why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgecritic.derived.tokenizer import tokenizer_json
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic_export.gguf.file import write_gguf

Value = int | str | tuple[int, ...] | tuple[str, ...]
SOUND: Mapping[str, Value] = {
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ("a", "b", "ab"),
    "tokenizer.ggml.token_type": (1, 1, 1),
    "tokenizer.ggml.merges": ("a b",),
}


def definition(path: Path, changed: Mapping[str, Value]) -> str:
    write_gguf(path, "llama", {**SOUND, **changed}, {})
    return tokenizer_json(read_header(path))


def test_a_sound_vocabulary_is_carried_over(tmp_path: Path) -> None:
    model = json.loads(definition(tmp_path / "a.gguf", {}))["model"]
    assert model["vocab"] == {"a": 0, "b": 1, "ab": 2}


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        ({"pre": "an-unknown-one"}, "by 'an-unknown-one', known are", "judge with llama.cpp"),
        ({"merges": ("a b c",)}, "a merge does not name two tokens", "fetch or export it again"),
        ({"token_type": (1, 1)}, "2 of 3 tokens have a kind", "fetch or export it again"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, changed: Mapping[str, Value], message: str, hint: str
) -> None:
    wrong = {f"tokenizer.ggml.{key}": value for key, value in changed.items()}
    with pytest.raises(ArtifactError, match=message) as raised:
        definition(tmp_path / "a.gguf", wrong)
    assert hint in raised.value.hint


def test_tokens_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    many = tuple(f"t{n:04}" for n in range(100))  # of a long array, the header reads no texts
    vocabulary = {"tokenizer.ggml.tokens": many, "tokenizer.ggml.token_type": (1,) * 100}
    definition(path, vocabulary)
    path.write_bytes(path.read_bytes().replace(b"t0099", b"t\xff\xfe99"))
    with pytest.raises(ArtifactError, match="tokens is not UTF-8"):
        tokenizer_json(read_header(path))
