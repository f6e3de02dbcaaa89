"""Judgements: frozen, typed, JSON-ready."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

Status: TypeAlias = Literal["ok", "unparsed", "cancelled"]
Winner: TypeAlias = Literal["first", "second", "tie"]
Detail: TypeAlias = Literal["full", "reduced"]
"""``reduced``: a cap on tiles or image tokens took detail from a picture."""
Basis: TypeAlias = Literal["logits", "top_logprobs", "text"]
"""What probabilities rest on.

``logits``: the whole vocabulary; they are exact. ``top_logprobs``: the tokens that a remote
endpoint listed as most probable; levels that it did not list have the probability 0, and winners
the highest that the list leaves room for. ``text``: what the model wrote, without probabilities;
those in the result only repeat that (1 for what was stated), and confidence is None.
"""


def _plain(value: Any) -> Any:
    """`value` with records, maps and tuples turned to what JSON knows."""
    if isinstance(value, _Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


class _Record:
    """Adds the JSON forms to a dataclass."""

    __slots__ = ()

    @property
    def _names(self) -> list[str]:
        return [field.name for field in fields(cast(Any, self))]  # each subclass is a dataclass

    def __reduce__(self) -> tuple[type[_Record], tuple[object, ...]]:
        """For pickle and copy, which do not know read-only maps."""
        values = (getattr(self, name) for name in self._names)
        plain = (dict(v) if isinstance(v, MappingProxyType) else v for v in values)
        return type(self), tuple(plain)

    def to_dict(self) -> dict[str, Any]:
        """All fields, nested records included, as JSON-ready values."""
        return {name: _plain(getattr(self, name)) for name in self._names}

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Usage(_Record):
    """What a judgement cost, in tokens; 0 where a remote endpoint does not say.

    Attributes:
        prompt_tokens: length of all prompts, image tokens included, as if none shared a prefix.
        image_tokens: how many of them came from pictures.
        decoded_tokens: tokens that were really decoded for the verdicts, the answers' lead-in
            included, after prefix sharing.
        rationale_tokens: tokens generated.
        reused_tokens: tokens that were not decoded, since an earlier judgement had decoded them or
            one that was made at the same time did.
    """

    prompt_tokens: int = 0
    image_tokens: int = 0
    decoded_tokens: int = 0
    rationale_tokens: int = 0
    reused_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Timings(_Record):
    """Where the time went, in seconds of wall clock.

    Attributes:
        image: decoding the picture, tiling, vision tower and packing.
        verdict: decoding the prompts and reading the verdict.
        rationale: generating the rationale.
    """

    image: float = 0.0
    verdict: float = 0.0
    rationale: float = 0.0

    @property
    def total(self) -> float:
        return self.image + self.verdict + self.rationale

    def __add__(self, other: Timings) -> Timings:
        return Timings(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def _frozen_map(value: Mapping[Any, float]) -> Mapping[Any, float]:
    return MappingProxyType(dict(value))


@dataclass(frozen=True, slots=True)
class Verdict(_Record):
    """A pointwise judgement.

    Attributes:
        status: ``unparsed`` when the levels held less than half of the probability mass: then
            score, level and confidence are None. ``cancelled`` verdicts hold what was known.
        score: expected level, in rubric units, within [low, high].
        level: the most probable level.
        probabilities: level to probability; they sum to 1. Empty where no verdict was read.
        confidence: probability of `level`, in [0, 1]; None where it is not known.
        mass: probability in [0, 1] that the model put on the levels, before renormalising.
        rationale: the reason in words, or None if none was asked for.
        usage: tokens.
        timings: seconds.
        critic: name of the bundle that judged.
        template: dialect, wording and hash of the prompt.
        basis: what the probabilities rest on.
        detail: in which the pictures were seen.
        within_noise: the most probable level leads by less than what this critic's
            log-probabilities change with what else is computed at the same time.
        interval: where a labelled score is to be expected, in rubric units; None unless the
            bundle's calibration has intervals for this rubric.
    """

    status: Status
    score: float | None
    level: int | None
    probabilities: Mapping[int, float]
    confidence: float | None
    mass: float
    rationale: str | None = None
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    critic: str = ""
    template: str = ""
    basis: Basis = "logits"
    detail: Detail = "full"
    within_noise: bool = False
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", _frozen_map(self.probabilities))


@dataclass(frozen=True, slots=True)
class OrderVerdict(_Record):
    """A pairwise verdict in one order of presentation, told in the caller's labels.

    Attributes:
        shown_first: which of the caller's responses stood first in the prompt.
        winner: the most probable outcome.
        probabilities: outcome to probability; they sum to 1.
        mass: probability that the model put on the outcomes, before renormalising.
    """

    shown_first: Literal["first", "second"]
    winner: Winner
    probabilities: Mapping[Winner, float]
    mass: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", _frozen_map(self.probabilities))


@dataclass(frozen=True, slots=True)
class Preference(_Record):
    """A pairwise judgement.

    Attributes:
        status: as in `Verdict`.
        winner: ``first``, ``second`` or ``tie``; None when unparsed or cancelled too early.
        probabilities: P(first), P(second), P(tie), both orders reconciled in log-space. Empty
            where no verdict was read.
        confidence: probability of `winner`; None where it is not known.
        consistent: both orders agree on the winner; None when only one order was judged.
        orders: the verdict of each order that was judged and could be read.
        rationale: the reason in words, for `winner`.
        usage: tokens.
        timings: seconds.
        critic: name of the bundle that judged.
        template: dialect, wording and hash of the prompt.
        basis: what the probabilities rest on.
        detail: in which the pictures were seen.
        within_noise: the most probable outcome leads by less than what this critic's
            log-probabilities change with what else is computed at the same time. Between two
            responses that makes it a tie.
    """

    status: Status
    winner: Winner | None
    probabilities: Mapping[Winner, float]
    confidence: float | None
    consistent: bool | None
    orders: tuple[OrderVerdict, ...]
    rationale: str | None = None
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    critic: str = ""
    template: str = ""
    basis: Basis = "logits"
    detail: Detail = "full"
    within_noise: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", _frozen_map(self.probabilities))


@dataclass(frozen=True, slots=True)
class Ranking(_Record):
    """Several responses in order of preference.

    Attributes:
        status: ``unparsed`` when any judgement it rests on was.
        order: indices into the responses, best first; equal rewards keep their given order.
            Empty unless the status is ``ok``.
        rewards: one per response. Pairwise: wins minus losses over all ordered pairs, each
            counted by its probabilities, in [-2(K-1), 2(K-1)]. Adaptive: the same, of which
            pairs that were not judged make up what is expected of them. Pointwise: the scores.
            None where they are not known.
        preferences: pairwise: (i, j, preference of i over j) for every pair that was compared;
            all with i < j unless the caller chose pairs. Adaptive: for those that were compared,
            by one order or both.
        verdicts: pointwise: one verdict per response.
        usage: tokens of the whole ranking; its preferences and verdicts count none themselves,
            since they share what was decoded.
        timings: seconds, likewise.
        judgements: verdicts that it rests on; one for each order of a pair.
        confidence: adaptive: probability, by its own model, that judging all pairs would give
            the same order, apart from rewards that differ by less than half a judgement. None
            for the other methods.
        cycles: preferences that contradict each other: in each tuple every response beats the
            next one, and the last one beats the first. One, the shortest, for each group of
            responses that beat each other in circles; empty where there is no contradiction.
    """

    status: Status
    order: tuple[int, ...]
    rewards: tuple[float | None, ...]
    preferences: tuple[tuple[int, int, Preference], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    judgements: int = 0
    confidence: float | None = None
    cycles: tuple[tuple[int, ...], ...] = ()

    @property
    def best(self) -> int | None:
        """Index of the preferred response; None unless the status is ``ok``."""
        return self.order[0] if self.order else None
