"""What kits are given, and what they make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edgecritic.server.jobs import Job, Question, Reason
from edgecritic.task import Rubric

Result: TypeAlias = Mapping[str, Any]
_SHORTEST_REASON = 16
_LONGEST_REASON = 96
_LEAST = -9999.0
UNREAD = "No verdict could be read from the critic (unparsed)."


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat, as far as kits look at it.

    Attributes:
        system: the system messages' text.
        user: the users' text.
        images: encoded pictures.
        max_tokens: of the answer.
        json: the answer has to be a JSON object.
    """

    system: str
    user: str
    images: tuple[bytes, ...] = ()
    max_tokens: int = 512
    json: bool = False

    def question(
        self, text: str, *, reference: str | None = None, criteria: str | None = None
    ) -> Question:
        """The task's question with this chat's pictures, on the critic's own scale."""
        rubric = None if criteria is None else Rubric(criteria=criteria)
        return Question(text.strip() or "?", self.images, reference, rubric)

    @property
    def reason(self) -> Reason:
        """A reason as long as the answer has room for."""
        wanted = self.max_tokens >= _SHORTEST_REASON
        return Reason(wanted=wanted, max_tokens=min(_LONGEST_REASON, self.max_tokens))


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in a kit's format.

    Attributes:
        verdict: the words that state the verdict.
        before: what stands in front of them.
        after: what stands behind them.
        odds: probability of each text that could have stood in the verdict's place.
        reasoning: why; for kits whose format has no place for it.
    """

    verdict: str
    before: str = ""
    after: str = ""
    odds: Mapping[str, float] = field(default_factory=dict)
    reasoning: str = ""

    @property
    def text(self) -> str:
        return self.before + self.verdict + self.after

    def tokens(self, listed: int) -> list[dict[str, Any]]:
        """The answer as OpenAI lists tokens: what surrounds the verdict is certain."""
        others = sorted(self.odds.items(), key=lambda item: -item[1])[:listed]
        top = [_token(text, share) for text, share in others]
        stated = self.odds.get(self.verdict, 1.0)
        around = [_token(text, 1.0) | {"top_logprobs": []} for text in (self.before, self.after)]
        verdict = _token(self.verdict, stated) | {"top_logprobs": top}
        return [token for token in (around[0], verdict, around[1]) if token["token"]]


def _token(text: str, share: float) -> dict[str, Any]:
    log_prob = max(_LEAST, math.log(share)) if share > 0 else _LEAST
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}


@dataclass(frozen=True, slots=True)
class Recognised:
    """A kit's prompt, understood.

    Attributes:
        kit: its name, for the metrics.
        job: the judgement to make; None if the answer stands in the prompt.
        write: the job's result in the kit's format.
    """

    kit: str
    job: Job | None
    write: Callable[[Result], Written]


def between(text: str, *marks: str) -> list[str] | None:
    """What stands between marks, and behind the last; None unless each occurs once, in order."""
    if any(text.count(mark) != 1 for mark in marks):
        return None
    places = [text.index(mark) for mark in marks]
    if places != sorted(places):
        return None
    starts = [place + len(mark) for place, mark in zip(places, marks, strict=True)]
    return [text[start:end] for start, end in zip(starts, [*places[1:], len(text)], strict=True)]


def share(result: Result) -> float | None:
    """A score as a share of the critic's own scale, in [0, 1]; None if it could not be read."""
    if result["score"] is None:
        return None
    levels = sorted(map(int, result["probabilities"]))
    return float((result["score"] - levels[0]) / (levels[-1] - levels[0]))


def levels_of(result: Result, low: int, high: int) -> dict[str, float]:
    """The probabilities of a kit's levels, each getting those of the critic's nearest to it."""
    own = {int(level): float(p) for level, p in result["probabilities"].items()}
    least, most = min(own), max(own)
    found: dict[str, float] = {}
    for level, probability in own.items():
        place = low + (level - least) / (most - least) * (high - low)
        label = str(math.floor(place + 0.5))
        found[label] = found.get(label, 0.0) + probability
    return found


def unread(_result: Result) -> Written:
    """The honest answer where there is no verdict."""
    return Written(UNREAD)
