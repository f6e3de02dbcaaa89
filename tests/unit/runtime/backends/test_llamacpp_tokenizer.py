"""An exported critic's tokens by llama.cpp are those of the checkpoint's own tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.llamacpp.artifacts import NORMALIZER, check_language_model
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ArtifactError
from tiny_checkpoints import write_llava_onevision
from tiny_engines import write_gguf_bundle
from tiny_models import TinyModels

OPTIONS = EngineOptions(n_ctx=64, n_threads=1)
USER_TOKEN = "<tool_call>"
DECOMPOSED = (
    "cafe\u0301",  # é of two characters
    "A\u030angstro\u0308m",
    "\u212bngstr\u00f6m",  # the Ångström sign is the letter
    "\u1112\u1161\u11ab\u1100\u1173\u11af",  # Hangul in jamo
    "a\u0328\u0301 a\u0301\u0328",  # marks in either order
    "\u0958 \u2126 \u1e9b\u0323",  # composed forms that NFC takes apart, or replaces
    "e\u0301<|im_end|>e\u0301",
    "<|im_end|>\u0338",  # > and a stroke through it are one character
    f"{USER_TOKEN}\u0338 {USER_TOKEN}e\u0301",
    "<image>\u0301\n<|im_start|>\u0338user",
    "\u0301",
)


@dataclass(frozen=True)
class Both:
    reference: Tokenizer
    language_model: Path
    backend: LlamaCppBackend

    def check(self, text: str, control: bool) -> None:
        self.reference.encode_special_tokens = not control
        expected = self.reference.encode(text, add_special_tokens=False).ids
        assert self.backend.tokenize(text, control=control) == expected


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("nfc")
    write_llava_onevision(folder / "checkpoint")
    definition = folder / "checkpoint" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(definition))
    tokenizer.add_tokens([AddedToken(USER_TOKEN, special=False, normalized=False)])
    tokenizer.save(str(definition))
    bundle = write_gguf_bundle(folder / "checkpoint", folder / "gguf")
    model = bundle.file("language_model")
    backend = LlamaCppBackend(model, options=OPTIONS)
    yield Both(tokenizer, model, backend)
    backend.close()


@pytest.mark.parametrize("control", [False, True], ids=["text", "control"])
@pytest.mark.parametrize("text", DECOMPOSED)
def test_decomposed_text(both: Both, text: str, control: bool) -> None:
    assert not unicodedata.is_normalized("NFC", text) or text == "\u0301"
    both.check(text, control)


def test_decomposed_text_is_other_bytes_without_it(both: Both) -> None:
    """What would be lost: the characters are spelled in bytes, and those differ."""
    composed = both.backend.tokenize("caf\u00e9")
    assert both.backend.tokenize("cafe\u0301") == composed
    assert b"".join(map(both.backend.token_bytes, composed)) == "caf\u00e9".encode()


LETTERS = "aeouAEOU <>|=\n"
MARKS = "\u0300\u0301\u0308\u030a\u0323\u0327\u0328\u0338\u1100\u1161\u11a8\u212b\u0958"
TOKENS = ("<|im_end|>", "<image>", USER_TOKEN, "<|", "|>", "the")
PIECES = st.sampled_from((*LETTERS, *MARKS, *TOKENS))


@given(st.lists(PIECES, max_size=12).map("".join), st.booleans())
def test_any_mix_of_marks_and_tokens(both: Both, text: str, control: bool) -> None:
    both.check(text, control)


@given(st.text(st.characters(max_codepoint=0x1FFF, exclude_categories=("Cn", "Cs")), max_size=20))
def test_any_text(both: Both, text: str) -> None:
    both.check(text, control=False)


def test_half_a_surrogate_pair_is_a_question_mark(both: Both) -> None:
    assert both.backend.tokenize("e\u0301\ud83d") == both.backend.tokenize("\u00e9?")


def test_another_normalisation_is_refused(both: Both, tmp_path: Path) -> None:
    data = both.language_model.read_bytes()
    name, length = NORMALIZER.encode(), (3).to_bytes(8, "little")
    entry = name + (8).to_bytes(4, "little") + length
    assert data.count(entry + b"NFC") == 1
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(entry + b"NFC", entry + b"NFD"))
    with pytest.raises(ArtifactError, match="normalised by 'NFD'"):
        LlamaCppBackend(other)


def test_critics_without_the_key_get_their_text_as_it_is(tiny_models: TinyModels) -> None:
    assert check_language_model(tiny_models.language_model).normalizer is None
    backend = LlamaCppBackend(tiny_models.language_model, options=OPTIONS)
    assert backend.tokenize("e\u0301") != backend.tokenize("\u00e9")
    backend.close()
