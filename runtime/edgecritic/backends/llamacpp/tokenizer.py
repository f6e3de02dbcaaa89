"""Texts and tokens by llama.cpp's vocabulary, with the normalisation that it leaves out.

Qwen2's tokenizer composes characters (NFC) before it cuts a text into words; llama.cpp has no such
step and would spell a decomposed "é" in other tokens than the critic was trained with. The
exporter therefore notes the normalisation in the GGUF file, and it is done here.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from functools import cached_property
from typing import Final, Literal, TypeAlias

from edgecritic.backends.llamacpp.native import Native
from edgecritic.errors import BackendUnavailableError

Normalizer: TypeAlias = Literal["NFC"]

_PIECE_BYTES: Final = 256


class Tokenizer:
    """The vocabulary of an open model.

    Args:
        native: the library.
        vocab: its handle, which lives as long as the model.
        normalizer: what is done to a text first; None leaves it as it is.
    """

    def __init__(self, native: Native, vocab: int, normalizer: Normalizer | None) -> None:
        self._llama = native.llama
        self._vocab = vocab
        self._normalizer: Normalizer | None = normalizer
        self._pieces: dict[int, bytes] = {}

    @property
    def n_vocab(self) -> int:
        """How many tokens there are."""
        count: int = self._llama.llama_vocab_n_tokens(self._vocab)
        return count

    def encode(self, text: str, *, control: bool) -> list[int]:
        """Token ids; control tokens are recognised only with `control`."""
        data = self._normalized(text, control).encode("utf-8", errors="replace")
        capacity = len(data) + 8
        tokens = (ctypes.c_int32 * capacity)()
        add_special = False
        count = self._llama.llama_tokenize(
            self._vocab, data, len(data), tokens, capacity, add_special, control
        )
        if count < 0:  # no tokenizer of ours gives more tokens than bytes
            raise BackendUnavailableError(
                f"llama_tokenize returned {count} for {len(data)} bytes", "shorten the text"
            )
        return tokens[:count]

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token of the vocabulary; empty for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            self._pieces[token] = piece = self._piece(token)
        return piece

    def _piece(self, token: int) -> bytes:
        for capacity in (_PIECE_BYTES, 1 << 20):
            buffer = ctypes.create_string_buffer(capacity)
            count = self._llama.llama_token_to_piece(self._vocab, token, buffer, capacity, 0, False)
            if count >= 0:
                return buffer.raw[:count]
        raise BackendUnavailableError(f"token {token} has no bytes", "check the language model")

    def end_tokens(self) -> frozenset[int]:
        """Those that end a generation."""
        is_end = self._llama.llama_vocab_is_eog
        return frozenset(token for token in range(self.n_vocab) if is_end(self._vocab, token))

    def _normalized(self, text: str, control: bool) -> str:
        """The text composed between the tokens that are looked for as they are written.

        They must be cut out first: a ``>`` and a combining stroke behind it are one character,
        and ``<|im_end|>`` would lose its end to it.
        """
        form = self._normalizer
        if form is None or unicodedata.is_normalized(form, text):
            return text
        whole = self._whole_with_control if control else self._whole
        parts = whole.split(text)
        # Split by a group: what stands at odd places are the tokens.
        parts[::2] = [unicodedata.normalize(form, part) for part in parts[::2]]
        return "".join(parts)

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return self._alternatives(self._llama.LLAMA_TOKEN_ATTR_USER_DEFINED)

    @cached_property
    def _whole_with_control(self) -> re.Pattern[str]:
        llama = self._llama
        recognised = llama.LLAMA_TOKEN_ATTR_USER_DEFINED | llama.LLAMA_TOKEN_ATTR_CONTROL
        return self._alternatives(recognised)

    def _alternatives(self, attributes: int) -> re.Pattern[str]:
        """Finds the longest token that has one of these attributes."""
        llama, vocab = self._llama, self._vocab
        found = [
            llama.llama_vocab_get_text(vocab, token).decode("utf-8", errors="replace")
            for token in range(self.n_vocab)
            if llama.llama_vocab_get_attr(vocab, token) & attributes
        ]
        longest_first = sorted(filter(None, found), key=len, reverse=True)
        # Without any token nothing may match, not even the empty text.
        return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
