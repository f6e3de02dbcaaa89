"""Requests go in, futures come out: what every way to ask a critic goes through."""

from __future__ import annotations

from asyncio import wrap_future
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar, cast, overload

from edgecritic.backends.base import CancelToken
from edgecritic.errors import InputError, shown
from edgecritic.judging import Job, JudgementJob, Judging
from edgecritic.judging.generation import Sampling
from edgecritic.judging.waiting import told
from edgecritic.pictures import as_images
from edgecritic.profile import CriticProfile
from edgecritic.progress import OnEvent
from edgecritic.requests import Asked, CompareRequest, Request, ScoreRequest
from edgecritic.task import Task
from edgecritic.verdict import Preference, Verdict

Judged = TypeVar("Judged", bound=Verdict | Preference)


class Submitting:
    """Asks whatever judges for a critic, and goes on.

    Attributes:
        profile: what the critic was trained for.
    """

    profile: CriticProfile
    _judging: Judging

    def submit(
        self,
        request: Asked[Judged],
        *,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
    ) -> Future[Judged]:
        """Ask, and go on; safe from any thread.

        Args:
            request: what to judge.
            on_event: is told what happens, on another thread, which it must not hold up. If it
                raises, that is logged, and the judgement goes on.
            cancel: may stop the judgement, whose result then holds what was known.

        Returns:
            The judgement to come, or the `CriticError` that keeps it from being made. Its own
            ``cancel()`` stops the judgement, too, and whoever waits for it gets a
            `CancelledError`.

        Raises:
            InputError: question, responses or an option cannot be used. What is wrong with a
                picture, or too long, the future tells.
            QueueFullError: too many requests wait.
            BackendUnavailableError: the critic is closed, its engine hangs, or this process is a
                fork of the one that loaded it.
        """
        return self._submitted([self._job(request, cancel, on_event)])[0]

    @overload
    def submit_many(
        self, requests: Sequence[ScoreRequest], *, cancel: CancelToken | None = None
    ) -> list[Future[Verdict]]: ...

    @overload
    def submit_many(
        self, requests: Sequence[CompareRequest], *, cancel: CancelToken | None = None
    ) -> list[Future[Preference]]: ...

    @overload
    def submit_many(
        self, requests: Sequence[Request], *, cancel: CancelToken | None = None
    ) -> list[Future[Any]]: ...

    def submit_many(
        self, requests: Sequence[Request], *, cancel: CancelToken | None = None
    ) -> list[Future[Any]]:
        """`submit` for several requests, of which all are taken or none.

        Raises:
            InputError: see `submit`.
            QueueFullError: see `submit`; an empty queue takes any number.
            BackendUnavailableError: see `submit`.
        """
        return self._submitted([self._job(request, cancel) for request in requests])

    async def ask(
        self,
        request: Asked[Judged],
        *,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
    ) -> Judged:
        """`submit` for asyncio: cancelling the task that awaits it stops the judgement.

        `on_event` is still told on another thread; ``loop.call_soon_threadsafe`` brings events
        back.
        """
        return await wrap_future(self.submit(request, on_event=on_event, cancel=cancel))

    def _job(
        self, asked: Asked[Any], cancel: CancelToken | None, on_event: OnEvent | None = None
    ) -> JudgementJob:
        """The request, checked, by the critic's own rubric where it names none."""
        if not isinstance(asked, Asked):
            raise InputError(
                f"{shown(asked)} is no request", "make a ScoreRequest or a CompareRequest of it"
            )
        request = cast(Request, asked)
        sampling = Sampling(request.max_rationale_tokens, request.temperature, request.seed)
        rubric = self.profile.rubric if request.rubric is None else request.rubric
        n_images = len(as_images(request.image))
        return JudgementJob(
            request=request,
            task=Task(request.question, request.responses, n_images, request.reference, rubric),
            sampling=sampling,
            cancel=cancel,
            on_event=on_event,
        )

    def _submitted(self, jobs: Sequence[Job]) -> list[Future[Any]]:
        for job in jobs:
            job.owner = self
        if jobs:
            self._judging.submit(jobs)
        return [job.future for job in jobs]

    def _told(self, make: Callable[[], Job], listen: Callable[[object], None]) -> Future[Any]:
        """A job that tells a listener what happens."""
        job = make()
        job.on_event = listen
        return self._submitted([job])[0]

    def _stream(self, make: Callable[[], Job]) -> Generator[Any, None, None]:
        """What a job tells, and its result; nothing begins before the first item is asked for."""
        items: SimpleQueue[object] = SimpleQueue()
        yield from told(items, self._told(make, items.put))
