"""A judge whose model is elsewhere: one judgement from prompt to reason, over a chat endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from threading import Lock, Semaphore, Thread
from time import perf_counter
from typing import Final, Generic, cast

from edgecritic.backends.base import Cancelled, CancelToken, EngineInfo
from edgecritic.debias import OUTCOMES
from edgecritic.errors import BackendUnavailableError, InputError, QueueFullError
from edgecritic.judging.base import SHOWN, Judged, QueueState
from edgecritic.judging.jobs import Job, JobToken, Judgement, JudgementJob
from edgecritic.judging.results import Shown
from edgecritic.pictures import ImageInput
from edgecritic.profile import CriticProfile
from edgecritic.remote.address import Address
from edgecritic.remote.asking import Asked, Asker
from edgecritic.remote.client import Client
from edgecritic.remote.endpoint import Endpoint
from edgecritic.remote.images import data_urls
from edgecritic.remote.options import RemoteOptions
from edgecritic.remote.results import remote_preference, remote_verdict
from edgecritic.remote.verdicts import Reading
from edgecritic.requests import CompareRequest, ScoreRequest
from edgecritic.task import Task
from edgecritic.verdict import Preference, Timings, Usage, Verdict
from edgecritic.vision import ImageLimits

_UNDER_WAY: Final = 256
"""Requests that may be under way or wait, all together."""


@dataclass(frozen=True, slots=True)
class _Case(Generic[Judged]):
    """What tells the two settings apart.

    Attributes:
        tasks: what to ask.
        explained: the task that the rationale speaks of.
        conclude: from the tasks' readings to the judgement.
        outcome: index of the answer that states a judgement.
    """

    tasks: tuple[Task, ...]
    explained: Task
    conclude: Callable[[Sequence[Reading]], Judged]
    outcome: Callable[[Judged], int]


class RemoteJudge:
    """Judges through one chat endpoint; several threads may at once.

    Args:
        address: of the endpoint.
        model: its name there.
        profile: dialect, rubric and calibration; its pictures are the endpoint's business.
        options: how to reach it.
        limits: on pictures.

    Raises:
        InputError: the dialect lets critics reason first.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        profile: CriticProfile,
        options: RemoteOptions,
        limits: ImageLimits,
    ) -> None:
        if profile.dialect.reason_first:
            raise InputError(
                f"the dialect {profile.dialect.name} reasons first, and a remote critic is asked "
                "for its verdict first",
                "leave the dialect to its default",
            )
        endpoint = Endpoint(Client(address, options), model, options.prefill)
        self._asker = Asker(endpoint, profile.dialect, options)
        self._profile = profile
        self._options = options
        self._limits = limits
        self._info = EngineInfo("remote", model, address.place)
        self._lock = Lock()
        self._under_way = 0
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def queue(self) -> QueueState:
        """Requests under way, those that the endpoint works at included."""
        return QueueState(self._under_way, _UNDER_WAY)

    def submit(self, jobs: Sequence[Job]) -> None:
        """See `Judging.submit`; jobs that come together share what may be asked at once."""
        with self._lock:
            if self._closed:
                raise BackendUnavailableError(
                    f"the critic {self._profile.name} is closed", "load it again"
                )
            if self._under_way and self._under_way + len(jobs) > _UNDER_WAY:
                raise QueueFullError(self._under_way, _UNDER_WAY)
            self._under_way += len(jobs)
        waiting, permits = deque(jobs), Semaphore(self._options.parallel)
        for _ in range(min(len(jobs), self._options.parallel)):
            Thread(
                target=self._work, args=(waiting, permits), name="edgecritic-judge", daemon=True
            ).start()

    def forget(self) -> None:
        """Nothing is kept here."""

    def close(self) -> None:
        """Cut all requests that are under way."""
        self._closed = True
        self._asker.close()

    def _work(self, waiting: deque[Job], permits: Semaphore) -> None:
        """Judge jobs until none wait."""
        while True:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            try:
                assert isinstance(job, JudgementJob)  # noqa: S101 - an endpoint gets no others
                job.finish(self._judged(job, permits))
            except BaseException as error:
                job.fail(error)
            with self._lock:
                self._under_way -= 1

    def _judged(self, job: JudgementJob, permits: Semaphore) -> Judgement:
        if self._closed:
            raise BackendUnavailableError("the critic was closed while it judged", "load it again")
        if isinstance(job.request, CompareRequest):
            return self._judge(job, self._comparison(job.request, job.task), permits)
        return self._judge(job, self._score(job.request, job.task), permits)

    def _score(self, request: ScoreRequest, task: Task) -> _Case[Verdict]:
        levels, calibration = task.rubric.range, self._profile.calibration
        return _Case(
            tasks=(task,),
            explained=task,
            conclude=lambda readings: remote_verdict(readings[0], levels, calibration),
            outcome=lambda verdict: levels.index(cast(int, verdict.level)),
        )

    def _comparison(self, request: CompareRequest, task: Task) -> _Case[Preference]:
        """Both orders at the same time."""
        shown = SHOWN[request.orders]
        tasks: dict[Shown, Task] = {"first": task, "second": task.swapped()}
        calibration = self._profile.calibration
        return _Case(
            tasks=tuple(tasks[order] for order in shown),
            explained=task,
            conclude=lambda readings: remote_preference(
                dict(zip(shown, readings, strict=True)), calibration
            ),
            outcome=lambda found: OUTCOMES.index(found.winner or "tie"),
        )

    def _judge(self, job: JudgementJob, case: _Case[Judged], permits: Semaphore) -> Judged:
        template = self._profile.dialect.identity
        started = seen = perf_counter()
        cancel, request = JobToken(job), job.request
        try:
            urls = self._urls(request.image, cancel)
            seen = perf_counter()
            tasks = (*case.tasks, case.explained)
            *asked, explained = self._asker.lay(tasks, urls, request.wording, cancel)
            template = explained.template
            readings, usage = self._asker.read(asked, cancel, permits)
        except Cancelled:
            timings = Timings(seen - started, perf_counter() - seen)
            return self._signed(replace(cast(Judged, job.unjudged()), timings=timings), template)
        judged = replace(
            case.conclude(readings),
            usage=usage,
            timings=Timings(seen - started, perf_counter() - seen),
        )
        judged = self._signed(judged, template)
        job.tell(judged)
        if request.rationale and judged.status == "ok":
            return self._explained(judged, explained, case.outcome(judged), job)
        return judged

    def _explained(self, judged: Judged, asked: Asked, outcome: int, job: JudgementJob) -> Judged:
        """The judgement with its reason: the stated answer is explained."""
        started = perf_counter()
        pieces: list[str] = []
        usage, status = Usage(), judged.status

        try:
            if job.sampling.max_tokens > 0:
                steps = self._asker.explain(asked, outcome, job.sampling, JobToken(job))
                usage = _told(steps, pieces, job)
        except Cancelled:
            status = "cancelled"
        return replace(
            judged,
            status=status,
            rationale="".join(pieces),
            usage=judged.usage + usage,
            timings=judged.timings + Timings(rationale=perf_counter() - started),
        )

    def _urls(self, image: ImageInput, cancel: CancelToken | None) -> list[str]:
        return data_urls(image, self._limits, self._options.longest_side, cancel)

    def _signed(self, judged: Judged, template: str) -> Judged:
        return replace(judged, critic=self._profile.name, template=template)


def _told(steps: Generator[str, None, Usage], pieces: list[str], job: JudgementJob) -> Usage:
    """Tell the pieces, put them into a list, too, and return what the steps do."""
    while True:
        try:
            piece = next(steps)
        except StopIteration as end:
            usage: Usage = end.value
            return usage
        pieces.append(piece)
        job.tell(piece)
