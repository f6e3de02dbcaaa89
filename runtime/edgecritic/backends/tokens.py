"""Texts and tokens by a ``tokenizer.json``, for engines without a tokenizer of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from edgecritic.errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLOSING_TOKENS: Final = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
"""End a generation wherever they are control tokens, as llama.cpp has it."""
END_TOKEN_FILES: Final = ("config.json", "generation_config.json")
"""Files of transformers and transformers.js that name end tokens, too."""
_WRONG_FILE: Final = "fetch or export the bundle again"


class JsonTokenizer:
    """A byte-level BPE tokenizer.

    Args:
        path: ``tokenizer.json``.
        n_vocab: rows of the embedding table; it may have more than the tokenizer has tokens.
        extra: what to install when the tokenizers package is missing.

    Raises:
        ArtifactError: the file is no tokenizer, one of another kind, or too large for the table.
        MissingExtraError: tokenizers is not installed.
    """

    def __init__(self, path: Path, n_vocab: int, *, extra: str) -> None:
        self._tokenizer = _load(path, extra)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        if max(vocabulary.values(), default=0) >= n_vocab:
            raise ArtifactError(
                f"{path} has token {max(vocabulary.values())}, the language model knows {n_vocab}",
                "use the tokenizer that was exported with this language model",
            )
        added = self._tokenizer.get_added_tokens_decoder()
        self._control = {token.content: key for key, token in added.items() if token.special}
        self._bytes = _token_bytes(path, vocabulary, {key: t.content for key, t in added.items()})
        for token in self._control.values():
            self._bytes[token] = b""

    def encode(self, text: str, *, control: bool) -> list[int]:
        """Token ids; control tokens are recognised only with `control`."""
        # Otherwise "<|im_end|>" is what its characters spell.
        self._tokenizer.encode_special_tokens = not control
        clean = text.encode("utf-8", errors="replace").decode("utf-8")
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return ids

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """Control tokens by what they are written as."""
        return MappingProxyType(self._control)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; empty for control tokens and for rows that no token has."""
        return self._bytes.get(token, b"")

    def end_tokens(self, configured: Iterable[int]) -> frozenset[int]:
        """Those that a configuration names, and the control tokens that end a turn everywhere."""
        closing = {self._control[name] for name in CLOSING_TOKENS if name in self._control}
        known = self._bytes.keys()
        return frozenset(closing | {token for token in configured if token in known})


def configured_ends(configs: Iterable[Path]) -> frozenset[int]:
    """The ids that transformers' ``config.json`` and ``generation_config.json`` name as ends.

    Raises:
        ArtifactError: a file holds no JSON object.
    """
    found: set[int] = set()
    for path in configs:
        settings = read_settings(path)
        inner = settings.get("text_config")
        for part in (settings, inner if isinstance(inner, dict) else {}):
            ends = part.get("eos_token_id")
            named = ends if isinstance(ends, list) else [ends]
            found.update(end for end in named if isinstance(end, int))
    return frozenset(found)


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object of another program.

    Raises:
        ArtifactError: the file holds none.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", _WRONG_FILE) from error
    if not isinstance(settings, dict):
        raise ArtifactError(f"{path} holds no JSON object", _WRONG_FILE)
    return settings


def _load(path: Path, extra: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError(
            "the tokenizers package is not installed", f"pip install 'edgecritic[{extra}]'"
        ) from error
    settings = read_settings(path)
    if _kind(settings) != ("BPE", "ByteLevel"):
        raise ArtifactError(
            f"{path} is no byte-level BPE tokenizer, and no other kind is supported", _WRONG_FILE
        )
    settings |= {"truncation": None, "padding": None, "post_processor": None}
    try:
        return Tokenizer.from_str(json.dumps(settings))
    except Exception as error:  # the package raises nothing more specific
        raise ArtifactError(f"{path} is no tokenizer: {error}", _WRONG_FILE) from error


def _kind(settings: dict[str, Any]) -> tuple[object, object]:
    """The types of model and decoder."""
    parts = (settings.get("model"), settings.get("decoder"))
    model, decoder = (part.get("type") if isinstance(part, dict) else None for part in parts)
    return model, decoder


def _token_bytes(path: Path, vocabulary: dict[str, int], added: dict[int, str]) -> dict[int, bytes]:
    byte_of = _byte_of_symbol()
    found: dict[int, bytes] = {}
    for symbols, token in vocabulary.items():
        if token in added:
            found[token] = added[token].encode()
            continue
        try:
            found[token] = bytes(byte_of[symbol] for symbol in symbols)
        except KeyError as error:
            raise ArtifactError(
                f"{path}: token {token} holds {error.args[0]!r}, which stands for no byte",
                _WRONG_FILE,
            ) from error
    return found


def _byte_of_symbol() -> dict[str, int]:
    """The byte behind each character of byte-level BPE.

    Source: GPT-2's `bytes_to_unicode`: printable bytes stand for themselves, the others for the
    characters from 256 on, in order.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + k): byte for k, byte in enumerate(hidden)
    }
