"""What the stages write down: one entry for each answer, each ranking, each choice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from edgecritic.verdict import Winner
from edgecritic_train.critic_data.journal import Journal
from edgecritic_train.critic_data.rows import WINNERS

Judged: TypeAlias = Literal["ok", "unparsed", "refused"]


def content_key(*parts: object) -> str:
    """SHA-256 (hex) of all that an entry depends on."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer of the policy.

    Attributes:
        key: hash of policy, prompt, pictures, sampling and seed.
        question: id of the question.
        policy: identity of the policy.
        text: of the answer.
        tokens: its length, the end of the turn included.
        ended: it ended before the limit.
    """

    key: str
    question: str
    policy: str
    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Match:
    """Two answers in both orders.

    Attributes:
        i: index of one answer.
        j: index of the other, above `i`.
        verdicts: who won where `i` was shown first, and where `j` was: ``first`` means `i`.
        leads: P(i wins) - P(j wins) in each of these orders.
        winner: of both orders together.
    """

    i: int
    j: int
    verdicts: tuple[Winner, Winner]
    leads: tuple[float, float]
    winner: Winner


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the critic says of all answers to a question.

    Attributes:
        key: hash of judge, question, answers and pictures.
        question: id of the question.
        outcome: ``refused`` where they could not be put to the critic at all.
        judge: who.
        responses: the different ones, in the order of their first occurrence.
        counts: how often each occurred.
        tokens: of each.
        matches: every i < j of `responses`.
        why: what was wrong where the outcome is ``refused``.
    """

    key: str
    question: str
    outcome: Judged
    judge: str
    responses: tuple[str, ...]
    counts: tuple[int, ...]
    tokens: tuple[int, ...]
    matches: tuple[Match, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a question: a pair to learn from, or why there is none.

    Attributes:
        key: hash of the ranking and the selection's settings.
        question: id of the question.
        dropped: by which filter; empty where it makes a pair.
        chosen: the best answer; empty where the filter came before it.
        rejected: the worst one.
        rewards: of the chosen and of the rejected answer.
        tokens: of both.
    """

    key: str
    question: str
    dropped: str = ""
    chosen: str = ""
    rejected: str = ""
    rewards: tuple[float, float] = (0.0, 0.0)
    tokens: tuple[int, int] = (0, 0)

    @property
    def margin(self) -> float:
        return self.rewards[0] - self.rewards[1]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer of a later policy beside the first policy's, to one held-out question.

    Attributes:
        key: hash of judge, question, both answers and pictures.
        question: id of the question.
        winner: ``first`` is the later policy; None where it could not be read.
        judge: who.
    """

    key: str
    question: str
    winner: Winner | None
    judge: str


def sample_journal(path: Path) -> Journal[Sample]:
    """Answers of a policy."""
    return Journal(path, lambda data: Sample(**data), asdict)


def ranked_journal(path: Path) -> Journal[Ranked]:
    """Rankings."""
    return Journal(path, _ranked, asdict)


def choice_journal(path: Path) -> Journal[Choice]:
    """Choices."""
    return Journal(path, _choice, asdict)


def comparison_journal(path: Path) -> Journal[Comparison]:
    """Comparisons."""
    return Journal(path, lambda data: Comparison(**data), asdict)


def _ranked(data: Mapping[str, Any]) -> Ranked:
    if data["outcome"] not in get_args(Judged):
        raise ValueError("no outcome")
    lists = {name: tuple(data[name]) for name in ("responses", "counts", "tokens")}
    return Ranked(**{**data, **lists, "matches": tuple(_match(item) for item in data["matches"])})


def _match(data: Mapping[str, Any]) -> Match:
    verdicts, leads = _two(data["verdicts"]), _two(data["leads"])
    if not {*verdicts, data["winner"]} <= set(WINNERS):
        raise ValueError("no winner")
    return Match(data["i"], data["j"], verdicts, leads, data["winner"])


def _choice(data: Mapping[str, Any]) -> Choice:
    return Choice(**{**data, "rewards": _two(data["rewards"]), "tokens": _two(data["tokens"])})


def _two(items: Sequence[Any]) -> tuple[Any, Any]:
    one, other = items
    return one, other
