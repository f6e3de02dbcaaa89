"""llama.cpp's tokens are those of the `tokenizers` package, for every known pre-tokenizer."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from edgecritic.backends.llamacpp.artifacts import NORMALIZER
from edgecritic.backends.llamacpp.native import load_native
from edgecritic.derived.tokenizer import end_settings, tokenizer_json
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic.vocabulary_layout import CONTROL, NORMAL, PRE_TOKENIZERS, UNUSED, USER_DEFINED
from edgecritic_export.gguf.file import Value, write_gguf
from edgecritic_export.gguf.tokenizer import tokenizer_metadata

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
USER_TOKEN = "<tool_call>"
N_PADDING = 5
# As in the tokenizer.json of Qwen2, Llama 3, SmolLM2 and GPT-2.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_WORDS = QWEN2_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
SPLITTERS: dict[str, Any] = {
    "qwen2": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"), BYTES]
    ),
    "llama-bpe": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3_WORDS), behavior="isolated"), BYTES]
    ),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "gpt-2": GPT2,
}
PARTS = (
    *("the", "Picture", "isn't", "WE'LL", "they'Ve", "'s", "''", "response 1", "Größe", "naïve"),
    *("0", "7", "42", "2026", "3.14", "1,000,000", "0x1F", "²³", "Ⅷ", "٣٤", "½", "-5%"),
    *(" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u200b"),
    *(
        "def f(x):\n    return x**2\n",
        "a[i]+=b;",
        "{'k': [1, 2]}",
        "// ...",
        "<p>",
        "$\\frac{1}{2}$",
    ),
    *("日本語の文", "中文、测试。", "한국어", "Привет мир", "العربية", "हिन्दी", "ไทย", "ελληνικά"),
    *("🙂", "👩\u200d👩\u200d👧", "🇩🇪", "e\u0301", "ﬁ", "…", "—", "«»", "\ufeff", "\U0001d54f"),
    *("<|im_end|>", "<|im_start|>assistant", "<image>", "<|unknown|>", "<tool_call>", "<|", "|>"),
    *("!!!", "?!", "@user", "#1", "http://a.b/c?d=e&f", "~/x_y-z", "`code`", "**bold**"),
)


def texts() -> Iterator[str]:
    """Some hundred strings of everything."""
    rng = random.Random(0)
    yield from PARTS
    for _ in range(250):
        yield "".join(rng.choices(PARTS, k=rng.randint(2, 12)))
    for _ in range(50):
        yield "".join(chr(rng.randrange(32, 0x2FF)) for _ in range(20))


def write_tokenizer(folder: Path, name: str, **settings: object) -> Tokenizer:
    """A trained tokenizer of one kind, with padding behind its last token."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = SPLITTERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [text.replace("<|", "<").replace("<image>", "") for text in texts()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    tokenizer.add_tokens([AddedToken(USER_TOKEN, special=False, normalized=False)])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    given = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    return tokenizer


def n_rows(tokenizer: Tokenizer) -> int:
    return int(tokenizer.get_vocab_size()) + N_PADDING


@pytest.fixture(params=[pre.name for pre in PRE_TOKENIZERS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def llama_tokens(tmp_path: Path) -> Iterator[Callable[[dict[str, Value], str, bool], list[int]]]:
    """Tokens by llama.cpp, for given metadata."""
    native = load_native()
    llama = native.llama
    opened: dict[int, int] = {}

    def model(metadata: dict[str, Value]) -> int:
        if id(metadata) not in opened:
            path = tmp_path / f"{len(opened)}.gguf"
            write_gguf(path, "llama", metadata, {})
            params = llama.llama_model_default_params()
            params.vocab_only = True
            opened[id(metadata)] = llama.llama_model_load_from_file(os.fsencode(path), params)
            assert opened[id(metadata)], native.log.complaint()
        return opened[id(metadata)]

    def tokens(metadata: dict[str, Value], text: str, control: bool) -> list[int]:
        vocab = llama.llama_model_get_vocab(model(metadata))
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        count = llama.llama_tokenize(vocab, data, len(data), buffer, len(buffer), False, control)
        assert count >= 0
        return buffer[:count]

    yield tokens
    for handle in opened.values():
        llama.llama_model_free(handle)


@pytest.mark.parametrize("control", [False, True], ids=["text", "control"])
def test_tokens_are_the_same(
    name: str, control: bool, tmp_path: Path, llama_tokens: Callable[..., list[int]]
) -> None:
    tokenizer = write_tokenizer(tmp_path, name)
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata["tokenizer.ggml.pre"] == name
    tokenizer.encode_special_tokens = not control
    for text in texts():
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert llama_tokens(metadata, text, control) == expected, text


@pytest.mark.parametrize("control", [False, True], ids=["text", "control"])
def test_a_definition_comes_back_from_the_file(name: str, control: bool, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, name)
    path = tmp_path / "vocabulary.gguf"
    write_gguf(path, "llama", tokenizer_metadata(tmp_path, n_rows(tokenizer), {}), {})
    again = Tokenizer.from_str(tokenizer_json(read_header(path)))
    for either in (tokenizer, again):
        either.encode_special_tokens = not control
    for text in texts():
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert again.encode(text, add_special_tokens=False).ids == expected, text
    assert json.loads(end_settings(read_header(path))) == {
        "eos_token_id": tokenizer.token_to_id("<|im_end|>")
    }


def test_rows_types_and_ids(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, "qwen2")
    n_vocab = n_rows(tokenizer)
    metadata = tokenizer_metadata(tmp_path, n_vocab, {"text_config": {"bos_token_id": 3}})
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(tokens, tuple)
    assert isinstance(types, tuple)
    assert len(tokens) == len(types) == n_vocab
    assert tokens[-1] == f"[PAD{n_vocab - 1}]"
    by_token = dict(zip(tokens, types, strict=True))
    assert {by_token[token] for token in CONTROL_TOKENS} == {CONTROL}
    assert by_token[USER_TOKEN] == USER_DEFINED
    assert by_token["[PAD" + str(n_vocab - N_PADDING) + "]"] == UNUSED
    assert by_token["a"] == NORMAL
    ids = tokenizer.get_vocab()
    assert metadata["tokenizer.ggml.eos_token_id"] == ids["<|im_end|>"]
    assert metadata["tokenizer.ggml.padding_token_id"] == ids["<|endoftext|>"]
    assert metadata["tokenizer.ggml.bos_token_id"] == 3
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.chat_template" not in metadata
    assert NORMALIZER not in metadata


def test_without_a_beginning_the_end_stands_in(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, "qwen2")
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata["tokenizer.ggml.bos_token_id"] == metadata["tokenizer.ggml.eos_token_id"]
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ArtifactError, match="no token that ends a turn"):
        tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {"eos_token_id": [5, 6]})
    assert metadata["tokenizer.ggml.eos_token_id"] == 5


@pytest.mark.parametrize("where", ["chat_template.jinja", "chat_template.json", "config", "named"])
def test_a_chat_template_is_copied(tmp_path: Path, where: str) -> None:
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": "{{ x }}"}]
    settings = {"config": {"chat_template": "{{ x }}"}, "named": {"chat_template": named}}
    tokenizer = write_tokenizer(tmp_path, "qwen2", **settings.get(where, {}))
    if where == "chat_template.jinja":
        (tmp_path / where).write_text("{{ x }}")
    elif where == "chat_template.json":
        (tmp_path / where).write_text(json.dumps({"chat_template": "{{ x }}"}))
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata["tokenizer.chat_template"] == "{{ x }}"


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    change(definition)
    path.write_text(json.dumps(definition))


def test_a_token_in_front_of_every_text(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, "llama-bpe")
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>"}}, {"Sequence": {"id": "A"}}],
    }
    processors = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}
    edited(tmp_path, lambda definition: definition.update(post_processor=processors))
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    write_tokenizer(tmp_path, "llama-bpe", add_bos_token=False)
    edited(tmp_path, lambda definition: definition.update(post_processor=processors))
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata["tokenizer.ggml.add_bos_token"] is False


def test_normalisation_is_noted_for_the_runtime(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, "qwen2")
    edited(tmp_path, lambda definition: definition.update(normalizer={"type": "NFC"}))
    metadata = tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert metadata[NORMALIZER] == "NFC"
    write_gguf(tmp_path / "file.gguf", "llama", metadata, {})
    assert GGUFReader(tmp_path / "file.gguf").fields[NORMALIZER].contents() == "NFC"


def strange(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(definition: dict[str, Any]) -> None:
        *parents, key = path.split(".")
        place: Any = definition
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[key] = copy.deepcopy(value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (strange("model.type", "Unigram"), "'Unigram'"),
        (strange("model.byte_fallback", True), "byte_fallback"),
        (strange("model.unk_token", "<unk>"), "unk_token"),
        (strange("model.ignore_merges", True), "ignore_merges True"),
        (strange("normalizer", {"type": "Lowercase"}), "Lowercase"),
        (strange("pre_tokenizer.pretokenizers.0.pattern.Regex", r"\s+"), "pre-tokenizers"),
        (strange("pre_tokenizer.pretokenizers.0.behavior", "Removed"), "pre-tokenizers"),
        (strange("pre_tokenizer.pretokenizers.1.add_prefix_space", True), "pre-tokenizers"),
        (strange("pre_tokenizer", None), "pre-tokenizers"),
        (strange("pre_tokenizer", {"type": "Whitespace"}), "Whitespace"),
        (strange("added_tokens.0.lstrip", True), "lstrip"),
        (strange("added_tokens.0.id", 10_000), "ids up to 10000"),
        (strange("model.merges", None), "cannot be used"),
        (strange("model", {}), "of type None"),
    ],
)
def test_other_tokenizers_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    tokenizer = write_tokenizer(tmp_path, "qwen2")
    edited(tmp_path, change)
    with pytest.raises(ArtifactError, match=message) as caught:
        tokenizer_metadata(tmp_path, n_rows(tokenizer), {})
    assert caught.value.hint


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read"):
        tokenizer_metadata(tmp_path, 10, {})
    for content in ("[]", "{", '{"model": {"type": "BPE"}}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
            tokenizer_metadata(tmp_path, 10, {})
