"""From the tokens that an endpoint lists to the outcomes' log-probabilities.

Nothing is known of the model's tokenizer, so tokens are matched by their text. The generated
tokens are followed from the verdict's lead-in on. At each of them, every listed token continues
what was said so far to another text; that text may belong to one outcome only (``7``, `` fir``),
to none, or to several (``1`` while ``10`` may follow).

Exact, as far as the endpoint's numbers are, is an outcome that listed tokens tell from all others.
It is a lower bound by what was not listed, and by other spellings; `Reading.ceiling` bounds an
outcome that was not listed at all. Where several outcomes begin alike and the generated text went
elsewhere, it takes a second look to tell how they share what their beginning got: a request whose
answer starts with it (`Beginning`). Where the endpoint takes no such request, that share is lost,
which lowers `mass` and may make the verdict unparsed, but favours no outcome.

A local engine reads the same numbers at the same places, with one difference: where it tells ``1``
from ``10``, it asks for the very token that the prompts' form puts behind the verdict, and here
whatever is no letter or digit will do. A critic that was trained for the form says that token
anyway; a general model may go on with ``1.`` or ``1 out of 10``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecritic.judging.results import LogProbs
from edgecritic.remote.forms import THOUGHTS_BEGIN, THOUGHTS_END, Form
from edgecritic.remote.reply import Reply, Token
from edgecritic.scoring import MIN_MASS
from edgecritic.verdict import Basis


@dataclass(frozen=True, slots=True)
class Beginning:
    """A text that several outcomes begin with.

    Attributes:
        text: the assistant's turn up to there.
        log_prob: of it, behind the lead-in.
    """

    text: str
    log_prob: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of the outcomes' probabilities.

    Attributes:
        joint: (n_outcomes,) log-probabilities, not normalised; -inf for what was not listed.
        basis: what they rest on.
        ceiling: no outcome that was not listed has a larger log-probability.
        beginnings: how outcomes share these is not known yet.
        stated: the outcome that the text states.
    """

    joint: LogProbs
    basis: Basis
    ceiling: float = -math.inf
    beginnings: tuple[Beginning, ...] = ()
    stated: int | None = None

    @property
    def mass(self) -> float:
        return float(np.exp(self.joint).sum())

    def deepened(self, beginning: Beginning, found: Followed | None) -> Reading:
        """With what a second look behind one of the beginnings has found, or without it."""
        others = tuple(other for other in self.beginnings if other is not beginning)
        if found is None:
            return replace(self, beginnings=others)
        return replace(
            self,
            joint=np.logaddexp(self.joint, found.reading.joint),
            ceiling=float(np.logaddexp(self.ceiling, found.reading.ceiling)),
            beginnings=others + found.reading.beginnings,
        )

    def settled(self) -> Reading:
        """The reading when no more looks are taken.

        If only outcomes that could not be told apart keep it from being readable, the text has to
        do, where it is plain.
        """
        undecided = sum(math.exp(beginning.log_prob) for beginning in self.beginnings)
        if self.stated is not None and self.mass < MIN_MASS <= self.mass + undecided:
            return stated_reading(len(self.joint), self.stated)
        return self


def stated_reading(n_outcomes: int, stated: int | None) -> Reading:
    """What a text without probabilities tells; nothing, if it states no outcome."""
    joint = np.full(n_outcomes, -np.inf)
    if stated is not None:
        joint[stated] = 0.0
    return Reading(joint, "text", stated=stated)


def read(reply: Reply, begun: str, form: Form) -> Reading:
    """Read a verdict.

    Args:
        reply: what the model generated.
        begun: what its turn began with; empty if it was only asked for the form.
        form: of the verdict.

    Returns:
        By log-probabilities where there are any at the verdict's place; there, a text in which
        the outcome is but the beginning of something else (``85``, ``7 or 8``) is unreadable.
        Otherwise by the text.
    """
    stated = form.stated(_unless_repeated(begun, reply.text, form) + reply.text)
    tokens = _spoken(reply.tokens)
    said = "".join(token.text for token in tokens)
    followed = follow(tokens, _unless_repeated(begun, said, form), form)
    if followed is None and stated is not None:  # it may have said nothing but the verdict
        followed = follow(tokens, form.lead_in, form)
        if followed is not None and followed.chosen != stated:
            followed = None
    if followed is None:
        return stated_reading(len(form.labels), stated)
    if followed.chosen is not None and followed.chosen != stated:
        return Reading(np.full(len(form.labels), -np.inf), "top_logprobs")
    return replace(followed.reading, stated=stated)


def _spoken(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens behind the model's thoughts, which may weigh other verdicts."""
    said, start = "", 0
    for number, token in enumerate(tokens, start=1):
        said += token.text
        if THOUGHTS_END in said:
            said, start = "", number
    return () if THOUGHTS_BEGIN in said else tokens[start:]


def _unless_repeated(begun: str, said: str, form: Form) -> str:
    """Some endpoints repeat the beginning; others start a turn of their own, with the lead-in."""
    return "" if form.announced.match(said.lstrip()) else begun


@dataclass(frozen=True, slots=True)
class Followed:
    """Where the generated tokens have led.

    Attributes:
        reading: what was listed along the way.
        chosen: the outcome that the generated text begins to state, if it is one.
    """

    reading: Reading
    chosen: int | None


def follow(
    tokens: Sequence[Token], begun: str, form: Form, log_prob: float = 0.0
) -> Followed | None:
    """Follow generated tokens until their outcome is clear.

    Args:
        tokens: what was generated behind `begun`.
        begun: beginning of the assistant's turn.
        form: of the verdict.
        log_prob: of `begun`, behind the lead-in.

    Returns:
        None if the lead-in does not occur.
    """
    places = _Places(form)
    said, reached = begun, log_prob
    for token in tokens:
        # Up to the verdict's first character, what was generated counts as given, like the
        # lead-in that a local engine is forced to say.
        if form.behind_lead_in(said + token.text):
            places.look(token, said, reached)
            if not places.goes_on:
                return places.found
            reached += token.log_probs[token.text]
        said += token.text
    if said == begun or form.behind_lead_in(said) is None:
        return None
    places.leave(said, reached)
    return places.found


class _Places:
    """Gathers, token by token, what the listed continuations give to the outcomes."""

    def __init__(self, form: Form) -> None:
        self.goes_on = True
        self._form = form
        self._joint = np.full(len(form.labels), -np.inf)
        self._ceiling = -math.inf
        self._beginnings: list[Beginning] = []
        self._chosen: int | None = None

    @property
    def found(self) -> Followed:
        reading = Reading(self._joint, "top_logprobs", self._ceiling, tuple(self._beginnings))
        return Followed(reading, self._chosen)

    def look(self, token: Token, said: str, reached: float) -> None:
        """Share out the continuations that are listed behind `said`."""
        listed = {text: self._form.behind_lead_in(said + text) for text in token.log_probs}
        before = self._form.behind_lead_in(said)
        self.goes_on = False
        for text, log_prob in token.log_probs.items():
            outcome, undecided = self._belongs(listed[text], before, listed.values())
            if outcome is not None:
                self._joint[outcome] = np.logaddexp(self._joint[outcome], reached + log_prob)
                if text == token.text:
                    self._chosen = outcome
            elif undecided and text == token.text:
                self.goes_on = True
            elif undecided and listed[text]:
                self._beginnings.append(Beginning(said + text, reached + log_prob))
        least = min(token.log_probs.values())
        rest = max(0.0, 1.0 - sum(map(math.exp, token.log_probs.values())))
        unlisted = reached + min(least, math.log(rest) if rest > 0 else -math.inf)
        self._ceiling = float(np.logaddexp(self._ceiling, unlisted))

    def leave(self, said: str, reached: float) -> None:
        """The generated text ended while several outcomes were possible."""
        if self._form.behind_lead_in(said):
            self._beginnings.append(Beginning(said, reached))

    def _belongs(
        self, behind: str | None, before: str | None, listed: Iterable[str | None]
    ) -> tuple[int | None, bool]:
        """The outcome that a text states; whether it may become one of several instead."""
        if behind is None:
            return None, False
        candidates = self._form.candidates(behind)
        if len(candidates) == 1:
            return candidates[0], False
        if behind not in self._form.labels:
            return None, bool(candidates)
        # A label that begins others ("1", "10") is meant if nothing follows, as a token without
        # text says, or if the tokenizer has a token for one of the others, which is listed, too.
        others = {self._form.labels[k] for k in candidates} - {behind}
        if behind == before or others & set(listed):
            return self._form.labels.index(behind), False
        return None, True
