"""Text generated behind a sequence, as a stream of whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from edgecritic.backends.base import (
    Append,
    Backend,
    Cancelled,
    CancelToken,
    FloatArray,
    TextSpan,
)
from edgecritic.errors import InputError
from edgecritic.scoring import log_softmax


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
    """

    text: str
    n_tokens: int
    ended: Literal["end", "stop", "limit", "broken", "cancelled"]


def generate(
    backend: Backend,
    sequence: int,
    logits: FloatArray,
    sampling: Sampling,
    *,
    stops: Sequence[str] = (),
    end_tokens: frozenset[int] = frozenset(),
    cancel: CancelToken | None = None,
) -> Generator[str, None, Generated]:
    """Generate behind `sequence`, which grows by what is generated and stays open.

    Args:
        backend: has no other sequences open than such as `sequence` is a fork of.
        sequence: what to continue.
        logits: (n_vocab,) float32, the row after its last position.
        sampling: how to choose.
        stops: texts that end the generation; they are not part of the text.
        end_tokens: ids that end it, beside the backend's own.
        cancel: ends it, too.

    Yields:
        Pieces of text that are not empty. Together they neither begin nor end with white space.
    """
    ends = end_tokens | backend.info.end_tokens
    text = PieceBuffer(stops)
    rng = np.random.default_rng(sampling.seed)
    limit = min(sampling.max_tokens, backend.info.n_ctx - backend.length(sequence))
    for n_tokens in range(limit):
        if cancel is not None and cancel.cancelled:
            return Generated(text.shown, n_tokens, "cancelled")
        if np.isnan(logits).any():
            return Generated(text.shown, n_tokens, "broken")
        token = choose(logits, sampling.temperature, rng)
        if token in ends:
            if rest := text.finish():
                yield rest
            return Generated(text.shown, n_tokens, "end")
        if piece := text.feed(backend.token_bytes(token)):
            yield piece
        if text.stopped:
            return Generated(text.shown, n_tokens + 1, "stop")
        if n_tokens + 1 < limit:
            try:
                logits = extend(backend, sequence, (token,), cancel)
            except Cancelled:
                return Generated(text.shown, n_tokens + 1, "cancelled")
    if rest := text.finish():
        yield rest
    return Generated(text.shown, max(limit, 0), "limit")


def extend(
    backend: Backend, sequence: int, tokens: Sequence[int], cancel: CancelToken | None = None
) -> FloatArray:
    """Append tokens to one sequence; the (n_vocab,) logits after the last of them."""
    (row,) = backend.append([Append(sequence, (TextSpan(tuple(tokens)),))], cancel)
    return cast(FloatArray, row)  # it was asked for


def choose(logits: FloatArray, temperature: float, rng: np.random.Generator) -> int:
    """The next token: the most probable one at temperature 0, otherwise a draw."""
    if temperature == 0:
        return int(logits.argmax())
    # The Gumbel-max trick: adding such noise and taking the maximum draws from the softmax.
    return int((log_softmax(logits) / temperature + rng.gumbel(size=logits.shape)).argmax())


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
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
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
        return max(
            (
                k
                for stop in self._stops
                for k in range(1, min(len(stop), len(self._held) + 1))
                if self._held.endswith(stop[:k])
            ),
            default=0,
        )

    def _shown(self, text: str) -> str:
        if not self.shown:
            text = text.lstrip()
        self.shown += text
        return text
