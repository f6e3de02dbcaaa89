"""Which token comes next: by probability, by chance, and within a grammar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import Backend, FloatArray
from edgecritic.errors import InputError
from edgecritic.judging.generation import tempered
from edgecritic.judging.grammar import State

_NO_BYTE = 256
_FEW = 8


@dataclass(frozen=True, slots=True)
class Taste:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the most probable token; above it draws.
        top_p: draws only from the likeliest tokens that hold this share, in (0, 1].
        presence_penalty: taken off the logits of tokens that were written before.
        frequency_penalty: taken off once for each time that they were.
        seed: of the draws.

    Raises:
        InputError: a value is out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}", "give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}", "give a share above 0, up to 1")


class Vocabulary:
    """The bytes of all tokens, sorted by the first of them.

    Args:
        backend: knows them.
    """

    def __init__(self, backend: Backend) -> None:
        self.bytes = [backend.token_bytes(token) for token in range(backend.info.n_vocab)]
        self._first = np.array([text[0] if text else _NO_BYTE for text in self.bytes])

    def may_begin(self, state: State) -> NDArray[np.bool_]:
        """(n_vocab,) whether a token's first byte may follow."""
        allowed = np.zeros(_NO_BYTE + 1, dtype=bool)
        allowed[list(state.following)] = True
        return cast("NDArray[np.bool_]", allowed[self._first])


class Chooser:
    """Chooses the tokens of one text.

    Attributes:
        pressed: a token was passed over because the text had to be completed in its room.

    Args:
        taste: how.
        choice: which of several texts; each has draws of its own.
    """

    def __init__(self, taste: Taste, choice: int = 0) -> None:
        self.pressed = False
        self._taste = taste
        self._rng = np.random.default_rng([taste.seed, choice])
        self._written = Counter[int]()

    def choose(self, logits: FloatArray) -> int:
        """The next token of free text.

        Args:
            logits: (n_vocab,) float32.
        """
        return self._noted(int(self._scores(logits.astype(np.float64)).argmax()))

    def choose_within(
        self,
        logits: FloatArray,
        state: State,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        room: int,
    ) -> int | None:
        """The next token that the grammar allows; None if no token is.

        Noise on the logits, and then the best of the allowed tokens, draws from their
        distribution as if all others had been left out of it.

        Args:
            logits: (n_vocab,) float32.
            state: where in the grammar the text is.
            vocabulary: of the model.
            ends: tokens that end the text.
            room: tokens that may still be written. As each token has a byte at least, a text that
                can be completed in so many bytes is always completed.
        """
        allowed = vocabulary.may_begin(state)
        if state.complete:
            allowed[list(ends)] = True
        masked = np.where(allowed, logits.astype(np.float64), -np.inf)
        scores = self._scores(masked)
        closes = len(state.closing) <= room
        # What top_p has left out is better than nothing.
        for token in chain(_descending(scores), _descending(masked)):
            if token in ends:
                return token
            then = state.read(vocabulary.bytes[token])
            if then is None:
                continue
            if not (closes and len(then.closing) >= room):
                return self._noted(token)
            self.pressed = True
        return None

    def _noted(self, token: int) -> int:
        self._written[token] += 1
        return token

    def _scores(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """What to take the maximum of."""
        taste = self._taste
        if taste.presence_penalty or taste.frequency_penalty:
            logits = logits.copy()
            for token, times in self._written.items():
                logits[token] -= taste.presence_penalty + taste.frequency_penalty * times
        if taste.temperature == 0:
            return logits
        scaled = tempered(np.asarray(logits, dtype=np.float32), taste.temperature)
        log_probs = scaled - np.log(np.exp(scaled).sum())
        if taste.top_p < 1:
            order = np.argsort(-log_probs)
            before = np.cumsum(np.exp(log_probs[order])) - np.exp(log_probs[order])
            log_probs[order[before >= taste.top_p]] = -np.inf
        # The Gumbel-max trick; see `generation.choose`.
        return np.asarray(log_probs + self._rng.gumbel(size=log_probs.shape), dtype=np.float64)


def _descending(scores: NDArray[np.float64]) -> Iterator[int]:
    """Tokens from the best to the worst; those that are ruled out are not among them."""
    scores = scores.copy()
    for _ in range(_FEW):  # mostly the first one will do
        if not np.isfinite(scores[best := int(scores.argmax())]):
            return
        yield best
        scores[best] = -np.inf
    yield from (int(k) for k in np.argsort(-scores, kind="stable") if np.isfinite(scores[k]))
