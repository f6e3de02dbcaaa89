"""Texts to tokens by tokenizer.json: control tokens, bytes, ends, and files that are refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgecritic.backends.tokens import JsonTokenizer, configured_ends
from edgecritic.errors import ArtifactError, MissingExtraError
from tiny_checkpoints import FIRST_SPECIAL, N_VOCAB, SPECIAL_TOKENS, write_tokenizer

FREE = FIRST_SPECIAL + len(SPECIAL_TOKENS)
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder / "tokenizer.json"


def opened(path: Path, n_vocab: int = N_VOCAB) -> JsonTokenizer:
    return JsonTokenizer(path, n_vocab, extra="onnx")


def edited(path: Path, folder: Path, edit: Edit) -> Path:
    settings = json.loads(path.read_text())
    edit(settings)
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_no_text_becomes_a_control_token(path: Path, name: str) -> None:
    tokenizer = opened(path)
    for text in (name, f"a{name}b", f"{name}{name}", name[:3] + name):
        tokens = tokenizer.encode(text, control=False)
        assert max(tokens) < FIRST_SPECIAL
        assert b"".join(map(tokenizer.bytes_of, tokens)) == text.encode()
    assert tokenizer.encode(name, control=True) == [FIRST_SPECIAL + SPECIAL_TOKENS.index(name)]
    assert max(tokenizer.encode(name, control=False)) < FIRST_SPECIAL  # nothing is left switched


def test_tokens_are_those_of_the_package(path: Path) -> None:
    text = "the theatre's 12 doors\n\n  are öpen…"
    expected = Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids
    assert opened(path).encode(text, control=False) == expected


def test_what_else_a_file_asks_for_is_left_out(path: Path, tmp_path: Path) -> None:
    def edit(settings: dict[str, Any]) -> None:
        tokenizer = Tokenizer.from_str(json.dumps(settings))
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=50)
        settings |= json.loads(tokenizer.to_str())
        settings["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {
                "<|im_start|>": {
                    "id": "<|im_start|>",
                    "ids": [FIRST_SPECIAL + 1],
                    "tokens": ["<|im_start|>"],
                }
            },
        }

    text = "more than two words of text"
    changed = opened(edited(path, tmp_path, edit))
    assert changed.encode(text, control=True) == opened(path).encode(text, control=False)


def test_half_a_surrogate_pair_is_a_question_mark(path: Path) -> None:
    tokenizer = opened(path)
    assert tokenizer.encode("a\ud800b", control=False) == tokenizer.encode("a?b", control=False)


def test_rows_without_a_token_have_no_bytes(path: Path) -> None:
    assert opened(path).bytes_of(N_VOCAB - 1) == b""


def test_added_tokens_that_are_no_control_tokens_are_their_text(path: Path, tmp_path: Path) -> None:
    def edit(settings: dict[str, Any]) -> None:
        entry = settings["added_tokens"][-1] | {"special": False, "content": "</ü>", "id": FREE}
        settings["added_tokens"].append(entry)

    tokenizer = opened(edited(path, tmp_path, edit))
    assert tokenizer.encode("</ü>", control=False) == [FREE]
    assert tokenizer.bytes_of(FREE) == "</ü>".encode()


def test_ends_are_what_the_files_name_and_what_closes_a_turn(path: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "config.json", tmp_path / "generation_config.json"
    one.write_text('{"eos_token_id": null, "text_config": {"eos_token_id": 5}}')
    two.write_text('{"eos_token_id": [6, 7, 100000, "8"]}')
    ends = opened(path).end_tokens(configured_ends([one, two]))
    assert ends == {5, 6, 7, FIRST_SPECIAL, FIRST_SPECIAL + 2}
    two.write_text("[]")
    with pytest.raises(ArtifactError, match="no JSON object"):
        configured_ends([two])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda settings: settings["model"].update(type="WordPiece"), "no byte-level BPE"),
        (lambda settings: settings.update(decoder=None), "no byte-level BPE"),
        (lambda settings: settings.update(model=[]), "no byte-level BPE"),
        (lambda settings: settings["model"].update(merges=["x"]), "is no tokenizer"),
        (lambda settings: settings["model"]["vocab"].update({"→": 270}), "stands for no byte"),
        (lambda settings: settings["model"]["vocab"].update(zz=N_VOCAB), "has token 272"),
    ],
)
def test_tokenizers_that_are_refused(path: Path, tmp_path: Path, edit: Edit, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        opened(edited(path, tmp_path, edit))
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'"' + b"[" * 10, b"[" * 100_000])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ArtifactError):
        opened(tmp_path / "tokenizer.json")


def test_the_package_is_not_installed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError) as caught:
        opened(path)
    assert caught.value.hint == "pip install 'edgecritic[onnx]'"
