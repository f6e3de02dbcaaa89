"""Who prefers: a critic in a bundle or behind an endpoint, or the references themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol, TypeAlias, cast

from edgecritic.backends.base import CancelToken
from edgecritic.bundle import MANIFEST, Bundle
from edgecritic.critic import Critic
from edgecritic.errors import InputError
from edgecritic.hashing import file_sha256
from edgecritic.hub import find_bundle
from edgecritic.remote import RemoteOptions
from edgecritic.verdict import Preference, Winner
from edgecritic_train.rounds.config import JudgeSettings
from edgecritic_train.rounds.entries import Match, content_key
from edgecritic_train.rounds.questions import Question

_BY_LEAD: dict[int, Winner] = {1: "first", 0: "tie", -1: "second"}
_EDGES = re.compile(r"^\W+|\W+$")
_BLANKS = re.compile(r"\s+")
_ARTICLES = re.compile(r"\b(?:an?|the)\s+")
_JOINTS = re.compile(r",\s*and\s+|,\s*|\s+and\s+")


class PreferenceJudge(Protocol):
    """Says which answers are better."""

    @property
    def name(self) -> str:
        """Who it is, for entries and reports."""
        ...

    def rank(self, question: Question, responses: Sequence[str]) -> tuple[Match, ...] | None:
        """All pairs of at least two responses in both orders; None if one could not be read.

        Raises:
            InputError: they cannot be put to the judge.
        """
        ...

    def stop(self) -> None:
        """Give up what is under way, from another thread; nothing more can be ranked then."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


OpenJudge: TypeAlias = Callable[[JudgeSettings], PreferenceJudge]


@dataclass(frozen=True, slots=True)
class CriticJudge:
    """A critic; it encodes the pictures once, and decodes once what the pairs share.

    Attributes:
        critic: is closed with the judge.
        wording: of its prompts.
        cancel: stops what is under way.
    """

    critic: Critic
    wording: int = 0
    cancel: CancelToken = field(default_factory=CancelToken)

    @property
    def name(self) -> str:
        return self.critic.profile.name

    def rank(self, question: Question, responses: Sequence[str]) -> tuple[Match, ...] | None:
        """See `PreferenceJudge`."""
        ranking = self.critic.rank(
            question.image_sources,
            question.text,
            responses,
            wording=self.wording,
            cancel=self.cancel,
        )
        if ranking.status != "ok":
            return None
        return tuple(_match(i, j, preference) for i, j, preference in ranking.preferences)

    def stop(self) -> None:
        self.cancel.cancel()

    def close(self) -> None:
        self.critic.close()


@dataclass(frozen=True, slots=True)
class TruthJudge:
    """No critic: what says the same as the reference (see `is_right`) is better."""

    name: str = "truth"

    def rank(self, question: Question, responses: Sequence[str]) -> tuple[Match, ...] | None:
        """See `PreferenceJudge`."""
        if question.reference is None:
            raise InputError(
                f"question {question.id} has no reference", "fill the column reference"
            )
        right = [is_right(response, question.reference) for response in responses]
        found = []
        for i in range(len(right)):
            for j in range(i + 1, len(right)):
                lead = right[i] - right[j]
                winner = _BY_LEAD[lead]
                found.append(Match(i, j, (winner, winner), (float(lead), float(lead)), winner))
        return tuple(found)

    def stop(self) -> None:
        """Nothing takes long."""

    def close(self) -> None:
        """Nothing is held."""


def is_right(response: str, reference: str) -> bool:
    """Whether a response is the reference, blanks, case and marks around it aside.

    A list may name its things in another order, and with other articles.
    """
    one, other = _bare(response), _bare(reference)
    return one == other or _same_things(one, other)


def _same_things(one: str, other: str) -> bool:
    """Whether two lists name the same things behind the words that both begin with."""
    first, second = (_JOINTS.split(_ARTICLES.sub("", text)) for text in (one, other))
    if min(len(first), len(second)) < 2:
        return False
    words, others = first[0].split(), second[0].split()
    both = zip(words, others, strict=False)
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    # Any of the words alike may belong to the first thing as well.
    return any(
        sorted([" ".join(words[n:]), *first[1:]]) == sorted([" ".join(others[n:]), *second[1:]])
        for n in range(alike + 1)
    )


def _bare(text: str) -> str:
    return _BLANKS.sub(" ", _EDGES.sub("", text.casefold()))


def _match(i: int, j: int, preference: Preference) -> Match:
    by_order = {order.shown_first: order for order in preference.orders}
    orders = (by_order["first"], by_order["second"])
    one, other = (o.probabilities["first"] - o.probabilities["second"] for o in orders)
    winner = cast(Winner, preference.winner)  # the ranking's status is ok
    return Match(i, j, (orders[0].winner, orders[1].winner), (one, other), winner)


def judge_source(settings: JudgeSettings) -> tuple[str, ...]:
    """Which critic it is, whatever it is asked in.

    Raises:
        ArtifactError: the bundle is not there.
    """
    if settings.truth:
        return ("truth",)
    if settings.endpoint is not None:
        return ("endpoint", settings.endpoint, str(settings.model))
    bundle = _bundle(settings)
    return ("bundle", bundle.name, file_sha256(bundle.folder / MANIFEST))


def judge_identity(settings: JudgeSettings) -> str:
    """What its preferences depend on beside the question, as one hash.

    Raises:
        ArtifactError: the bundle is not there.
    """
    return content_key(judge_source(settings), settings.backend, settings.wording)


def open_judge(settings: JudgeSettings) -> PreferenceJudge:
    """Load a judge.

    Raises:
        CriticError: it cannot be loaded.
    """
    if settings.truth:
        return TruthJudge()
    if settings.endpoint is not None and settings.model is not None:
        options = RemoteOptions(allow_http=settings.allow_http, timeout=settings.timeout)
        critic = Critic.remote(settings.endpoint, settings.model, options=options)
        return CriticJudge(critic, settings.wording)
    critic = Critic.load(_bundle(settings), backend=settings.backend, device=settings.device)
    return CriticJudge(critic, settings.wording)


def _bundle(settings: JudgeSettings) -> Bundle:
    return Bundle.embedded() if settings.bundle is None else find_bundle(settings.bundle)
