"""Text generated from rows of logits, as a stream of whole characters."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import FloatArray
from edgecritic.errors import InputError
from edgecritic.judging.walk import Spent


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_tokens: most tokens to generate, at least 0.
        temperature: 0 takes the most probable token; above it draws, 1 as the model says.
        seed: of the draws.

    Raises:
        InputError: a value is out of range.
    """

    max_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 0:
            raise InputError(f"max_rationale_tokens is {self.max_tokens}", "give 0 or more")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}", "give 0 (greedy) or more")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}", "give 0 or more")


@dataclass(frozen=True, slots=True)
class Generated:
    """What a generation gave, and how it ended.

    Attributes:
        text: all pieces together.
        n_tokens: tokens generated, the end token not counted.
        ended: by an end token, a stop text, the limit (of tokens or of the context), because the
            logits were no numbers, or by the caller's `CancelToken`.
        spent: what the text in front of it cost.
    """

    text: str
    n_tokens: int
    ended: Literal["end", "stop", "limit", "broken", "cancelled"]
    spent: Spent = field(default_factory=Spent)


class Writer:
    """Turns rows of logits to text, one token a row.

    Args:
        sampling: how to choose.
        bytes_of: the bytes of a token.
        ends: ids that end the generation.
        limit: most tokens.
        stops: texts that end it; they are not part of the text.
        tell: is given pieces of text that are not empty. Together they neither begin nor end with
            white space.

    Attributes:
        tokens: what was generated.
        limit: most tokens to generate.
    """

    def __init__(
        self,
        sampling: Sampling,
        bytes_of: Callable[[int], bytes],
        ends: frozenset[int],
        limit: int,
        *,
        stops: Sequence[str] = (),
        tell: Callable[[str], None] = lambda piece: None,
    ) -> None:
        self.tokens: list[int] = []
        self.limit = limit
        self._sampling = sampling
        self._bytes_of = bytes_of
        self._ends = ends
        self._tell = tell
        self._text = PieceBuffer(stops)
        self._rng = np.random.default_rng(sampling.seed)

    def feed(self, logits: FloatArray) -> Generated | None:
        """Choose the next token, the last of `tokens` then; or say how the text ended.

        Args:
            logits: (n_vocab,) float32, the row after the last token.
        """
        if len(self.tokens) >= self.limit:
            return self.finished("limit")
        likeliest = int(logits.argmax())  # the first that is no number, if there is one
        if math.isnan(logits[likeliest]):
            return Generated(self._text.shown, len(self.tokens), "broken")
        drawn = self._sampling.temperature > 0
        token = choose(logits, self._sampling.temperature, self._rng) if drawn else likeliest
        if token in self._ends:
            return self.finished("end")
        self.tokens.append(token)
        self._say(self._text.feed(self._bytes_of(token)))
        if self._text.stopped:
            return Generated(self._text.shown, len(self.tokens), "stop")
        return self.finished("limit") if len(self.tokens) == self.limit else None

    def finished(self, ended: Literal["end", "limit"]) -> Generated:
        """The whole text, what was held back included."""
        self._say(self._text.finish())
        return Generated(self._text.shown, len(self.tokens), ended)

    def cancelled(self) -> Generated:
        """What was shown so far."""
        return Generated(self._text.shown, len(self.tokens), "cancelled")

    def _say(self, piece: str) -> None:
        if piece:
            self._tell(piece)


def choose(logits: FloatArray, temperature: float, rng: np.random.Generator) -> int:
    """The next token: the most probable one at temperature 0, otherwise a draw."""
    if temperature == 0:
        return int(logits.argmax())
    # The Gumbel-max trick: adding such noise and taking the maximum draws from the softmax.
    return int((tempered(logits, temperature) + rng.gumbel(size=logits.shape)).argmax())


def tempered(logits: FloatArray, temperature: float) -> NDArray[np.float64]:
    """Logits divided by a temperature, the largest made 0 first, which it then stays."""
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = logits.astype(np.float64) - float(logits.max())
        return np.asarray(shifted / temperature, dtype=np.float64)


class PieceBuffer:
    """Turns tokens' bytes to text that may be shown at once.

    Held back are bytes of an unfinished character, text that may become a stop text, and white
    space that nothing has followed yet.

    Attributes:
        shown: all text that was given out.
        stopped: a stop text was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.shown = ""
        self.stopped = False
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text that `data` makes certain; may be empty."""
        self._held += self._decoder.decode(data)
        found = [self._held.find(stop) for stop in self._stops if stop in self._held]
        if found:
            self.stopped = True
            self._held = self._held[: min(found)]
            return self.finish()
        certain = self._held[: len(self._held) - self._doubtful()].rstrip()
        self._held = self._held[len(certain) :]
        return self._shown(certain)

    def finish(self) -> str:
        """What was held back, when nothing follows; an unfinished character is dropped."""
        rest, self._held = self._held.rstrip(), ""
        return self._shown(rest)

    def _doubtful(self) -> int:
        """Length of the longest ending that may be the beginning of a stop text."""
        longest = 0
        for stop in self._stops:
            for length in range(longest + 1, min(len(stop), len(self._held) + 1)):
                if self._held.endswith(stop[:length]):
                    longest = length
        return longest

    def _shown(self, text: str) -> str:
        if not self.shown:
            text = text.lstrip()
        self.shown += text
        return text
