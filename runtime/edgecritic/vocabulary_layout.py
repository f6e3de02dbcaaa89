"""What llama.cpp calls a tokenizer's parts: kinds of tokens, ways to cut a text into words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # LLAMA_TOKEN_TYPE_*


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One of llama.cpp's ways to cut a text into words.

    Attributes:
        name: ``tokenizer.ggml.pre``.
        steps: the definition in ``tokenizer.json`` that does the same, each a
            kind with its setting.
        ignore_merges: words that are tokens are not built from merges.
    """

    name: str
    steps: tuple[tuple[object, ...], ...]
    ignore_merges: bool = False


_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}|"
    r" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES: Final = ("ByteLevel", False)
_GPT2_WORDS: Final = ("ByteLevel", True)
PRE_TOKENIZERS: Final = (
    PreTokenizer("qwen2", (("Split", _WORDS.format(digits=r"\p{N}")), _BYTES)),
    PreTokenizer(
        "llama-bpe", (("Split", _WORDS.format(digits=r"\p{N}{1,3}")), _BYTES), ignore_merges=True
    ),
    PreTokenizer("smollm", (("Digits", True), _GPT2_WORDS)),
    PreTokenizer("gpt-2", (_GPT2_WORDS,)),
)
