"""One answer of a chat, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from edgecritic.backends.base import CancelToken, FloatArray
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.judging.choosing import Chooser, Taste, Vocabulary
from edgecritic.judging.generation import Generated, PieceBuffer
from edgecritic.judging.grammar import Part, begin
from edgecritic.scoring import log_softmax

Ended: TypeAlias = Literal["end", "closed", "limit", "cancelled"]
"""How an answer ended; ``closed`` is the end of a form that the limit has brought about."""
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to answer.

    Attributes:
        max_tokens: most tokens of an answer.
        taste: how they are drawn.
        stops: texts that end an answer; they are not part of it.
        n: how many answers.
        listed: log-probabilities of so many tokens at each place, 0 to 20; None for none at all.
        grammar: what an answer must be; None for anything.
        continued: the last turn is the assistant's, and is continued.
        cancel: stops all answers.

    Raises:
        InputError: a value is out of range.
    """

    max_tokens: int = 512
    taste: Taste = field(default_factory=Taste)
    stops: tuple[str, ...] = ()
    n: int = 1
    listed: int | None = None
    grammar: Part | None = None
    continued: bool = False
    cancel: CancelToken | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.n < 1:
            raise InputError(f"max_tokens is {self.max_tokens}, n is {self.n}", "give 1 or more")
        if self.listed is not None and not 0 <= self.listed <= MOST_LISTED:
            raise InputError(f"{self.listed} tokens are to be listed", f"give 0 to {MOST_LISTED}")


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was written.

    Attributes:
        text: its bytes; a character may need several tokens.
        log_prob: what the model gave it, before temperature, penalties and grammar.
        others: the likeliest tokens at its place, with theirs.
    """

    text: bytes
    log_prob: float
    others: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """What came next.

    Attributes:
        answer: which of the answers it belongs to.
        text: may be empty, if a character or a stop text may still be unfinished.
        tokens: those written since the last piece, where log-probabilities were asked for.
        ended: set in an answer's last piece.
    """

    answer: int
    text: str
    tokens: tuple[Choice, ...] = ()
    ended: Ended | None = None


class ChatWriter:
    """Writes one answer, token by token.

    Args:
        vocabulary: of the model.
        ends: tokens that end an answer.
        options: how to answer.
        number: which of the answers it is.
        limit: most tokens.
        tell: is given the pieces.

    Attributes:
        tokens: what was written.
        limit: most tokens.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        options: ChatOptions,
        number: int,
        limit: int,
        *,
        tell: Callable[[ChatPiece], None],
    ) -> None:
        self.tokens: list[int] = []
        self.limit = limit
        self._vocabulary = vocabulary
        self._ends = ends
        self._options = options
        self._number = number
        self._tell = tell
        self._chooser = Chooser(options.taste, number)
        self._text = PieceBuffer(options.stops)
        self._state = None if options.grammar is None else begin(options.grammar)
        self._unsaid: list[Choice] = []

    def feed(self, logits: FloatArray) -> Generated | None:
        """See `Writing.feed`.

        Raises:
            BackendUnavailableError: the logits are no numbers.
        """
        if np.isnan(logits.max()):
            raise BackendUnavailableError(
                "the engine's logits are no numbers",
                "load the critic again, or another quant of it",
            )
        token = self._next(logits, self.limit - len(self.tokens))
        if token is None:
            return self._ended(self._text.finish(), "end")
        self.tokens.append(token)
        text = self._vocabulary.bytes[token]
        self._note(token, logits)
        piece = self._text.feed(text)
        self._state = None if self._state is None else self._state.read(text)
        if self._text.stopped or self._finished:
            return self._ended(piece + self._text.finish(), "end")
        if len(self.tokens) == self.limit:
            return self._ended(piece + self._text.finish(), "limit")
        self._tell(self._piece(piece))
        return None

    def cancelled(self) -> Generated:
        """See `Writing.cancelled`."""
        return Generated(self._text.shown, len(self.tokens), "cancelled")

    def _ended(self, text: str, ended: Literal["end", "limit"]) -> Generated:
        closed = ended == "end" and self._chooser.pressed
        self._tell(self._piece(text, "closed" if closed else ended))
        return Generated(self._text.shown, len(self.tokens), ended)

    @property
    def _finished(self) -> bool:
        return self._state is not None and self._state.complete and not self._state.following

    def _next(self, logits: FloatArray, room: int) -> int | None:
        """The next token; None at the answer's end."""
        state = self._state
        if state is None:
            free = self._chooser.choose(logits)
            return None if free in self._ends else free
        token = self._chooser.choose_within(logits, state, self._vocabulary, self._ends, room)
        return None if token is None or token in self._ends else token

    def _note(self, token: int, logits: FloatArray) -> None:
        if self._options.listed is None:
            return
        log_probs = log_softmax(logits)
        likeliest = np.argsort(-log_probs)[: self._options.listed]
        known = self._vocabulary.bytes
        others = tuple((known[k], float(log_probs[k])) for k in likeliest)
        self._unsaid.append(Choice(known[token], float(log_probs[token]), others))

    def _piece(self, text: str, ended: Ended | None = None) -> ChatPiece:
        tokens = tuple(self._unsaid)
        self._unsaid.clear()
        return ChatPiece(self._number, text, tokens, ended)
