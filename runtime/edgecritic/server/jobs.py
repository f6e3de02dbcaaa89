"""What a worker process is asked to do, and how it does it.

Jobs are pickled on their way to the worker. What comes back are events of plain JSON: a worker
holds files from strangers, so nothing that it says is unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

from edgecritic.errors import CriticError
from edgecritic.progress import Event, Progress
from edgecritic.requests import CompareRequest, ScoreRequest
from edgecritic.server.failures import failure_of
from edgecritic.task import Rubric

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken
    from edgecritic.critic import Critic, Method
    from edgecritic.requests import Orders

JsonObject: TypeAlias = dict[str, Any]
_AT_ONCE = 16
Tell: TypeAlias = Callable[[str, JsonObject], None]
"""Says an event: its name and its data."""


class Job(Protocol):
    """Work for one critic. Equal jobs have equal results."""

    @property
    def kind(self) -> str:
        """One word, for the metrics."""
        ...

    @property
    def weight(self) -> int:
        """How many judgements it holds; its time limit grows with them."""
        ...

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """Do it.

        Args:
            critic: what does it.
            cancel: stops it.
            tell: is told what happens meanwhile.

        Returns:
            The result.

        Raises:
            CriticError: it cannot be done.
        """
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What all judgements have in common.

    Attributes:
        text: what was asked.
        images: encoded pictures.
        reference: a right answer, or None.
        rubric: None for the critic's own.
        wording: of the prompt.
    """

    text: str
    images: tuple[bytes, ...] = ()
    reference: str | None = None
    rubric: Rubric | None = None
    wording: int = 0

    @property
    def pictures(self) -> list[bytes] | None:
        """As `Critic` takes them."""
        return list(self.images) or None


@dataclass(frozen=True, slots=True)
class Reason:
    """Whether and how the reason is generated; see `Critic.score`."""

    wanted: bool = True
    max_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0


class _Common(TypedDict):
    """What requests of both kinds have."""

    reference: str | None
    rubric: Rubric | None
    wording: int
    rationale: bool
    max_rationale_tokens: int
    temperature: float
    seed: int


def _common(question: Question, reason: Reason) -> _Common:
    return {
        "reference": question.reference,
        "rubric": question.rubric,
        "wording": question.wording,
        "rationale": reason.wanted,
        "max_rationale_tokens": reason.max_tokens,
        "temperature": reason.temperature,
        "seed": reason.seed,
    }


@dataclass(frozen=True, slots=True)
class Score:
    """Score one response."""

    question: Question
    response: str
    reason: Reason = Reason()
    kind: str = "score"
    weight: int = 1

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """The verdict, and its reason piece by piece."""
        return _judged(critic, self.request, cancel, tell)

    @property
    def request(self) -> ScoreRequest:
        """As `Critic` takes it."""
        return ScoreRequest(
            self.question.pictures,
            self.question.text,
            self.response,
            **_common(self.question, self.reason),
        )


@dataclass(frozen=True, slots=True)
class Compare:
    """Say which of two responses is better."""

    question: Question
    first: str
    second: str
    orders: Orders = "both"
    reason: Reason = Reason()
    kind: str = "compare"
    weight: int = 1

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """The preference, and its reason piece by piece."""
        return _judged(critic, self.request, cancel, tell)

    @property
    def request(self) -> CompareRequest:
        """As `Critic` takes it."""
        return CompareRequest(
            self.question.pictures,
            self.question.text,
            self.first,
            self.second,
            orders=self.orders,
            **_common(self.question, self.reason),
        )


@dataclass(frozen=True, slots=True)
class Rank:
    """Put several responses into order."""

    question: Question
    responses: tuple[str, ...]
    method: Method = "pairwise"
    kind: str = "rank"

    @property
    def weight(self) -> int:
        n = len(self.responses)
        return n if self.method == "pointwise" else n * (n - 1) // 2

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """The ranking."""
        question = self.question
        tell("progress", {"stage": "image" if question.images else "prefill"})
        ranking = critic.rank(
            question.pictures,
            question.text,
            list(self.responses),
            method=self.method,
            reference=question.reference,
            rubric=question.rubric,
            wording=question.wording,
            cancel=cancel,
        )
        return ranking.to_dict()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A member of a batch that cannot be judged, as the others can."""

    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Several jobs; one that fails does not keep the others from being done."""

    jobs: tuple[Job | Refusal, ...]
    kind: str = "batch"

    @property
    def weight(self) -> int:
        return sum(job.weight for job in self.jobs if not isinstance(job, Refusal))

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """The results in the jobs' order; what waits for the engine together shares its work."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = [pool.submit(_result_or_error, job, critic, cancel) for job in self.jobs]
            results = []
            for number, one in enumerate(waiting, start=1):
                results.append(one.result())
                tell("progress", {"stage": "batch", "done": number, "total": len(self.jobs)})
        return {"results": results, "usage": _summed(results)}


def _summed(results: Sequence[JsonObject]) -> JsonObject:
    total = Counter[str]()
    for result in results:
        total.update(result.get("usage", {}))
    return dict(total)


def _result_or_error(job: Job | Refusal, critic: Critic, cancel: CancelToken) -> JsonObject:
    if isinstance(job, Refusal):
        return dict(job.error)
    try:
        return job.run(critic, cancel, lambda _name, _data: None)
    except CriticError as error:
        return failure_of(error).body


def _judged(
    critic: Critic, request: ScoreRequest | CompareRequest, cancel: CancelToken, tell: Tell
) -> JsonObject:
    """A judgement; what happens before it is told."""

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            tell("progress", {"stage": event.stage, "done": event.done, "total": event.total})
        elif isinstance(event, str):
            tell("text", {"text": event})
        else:
            tell("verdict", event.to_dict())

    return critic.submit(request, on_event=listen, cancel=cancel).result().to_dict()
