"""One request on its way: who waits for it, who listens, and whether it is still wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from edgecritic.backends.base import CancelToken
from edgecritic.errors import BackendUnavailableError
from edgecritic.judging.demands import Steps
from edgecritic.judging.generation import Sampling
from edgecritic.requests import Request, ScoreRequest
from edgecritic.task import Task
from edgecritic.verdict import Preference, Verdict

logger = logging.getLogger(__name__)
Judgement: TypeAlias = Verdict | Preference


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A request that was checked.

    Attributes:
        cancel: the caller's token, if there is one.
        on_event: is told what happens.
        owner: kept alive until the job is done.
        future: what the caller waits for.
    """

    cancel: CancelToken | None = None
    on_event: Callable[[Any], None] | None = None
    owner: object = None
    future: Future[Any] = field(default_factory=Future)

    @property
    def cancelled(self) -> bool:
        """Nobody waits for it any more, or whoever does wants it to stop."""
        asked = self.cancel is not None and self.cancel.cancelled
        return asked or self.future.cancelled()

    def tell(self, event: object) -> None:
        """Tell the listener; if it fails, that is logged, and it is told no more."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:
            logger.exception("a listener failed; it is told nothing more of its judgement")
            self.on_event = None

    def finish(self, result: object) -> None:
        """Give the result to whoever waits."""
        with suppress(InvalidStateError):  # cancelled, or given up as the engine hangs
            self.future.set_result(result)
        self.owner = None

    def fail(self, error: BaseException) -> None:
        """Raise where the result is waited for.

        What an engine raises of itself, for want of memory or of the GPU that is gone, is told as
        a `BackendUnavailableError`.
        """
        with suppress(InvalidStateError):
            self.future.set_exception(_told(error))
        self.owner = None


def _told(error: BaseException) -> BaseException:
    if not isinstance(error, MemoryError | RuntimeError):
        return error
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    told = BackendUnavailableError(
        f"the engine failed: {reason}",
        "free some memory or ask for less; if that does not help, load the critic again",
    )
    told.__cause__ = error
    return told


@dataclass(slots=True, eq=False, kw_only=True)
class JudgementJob(Job):
    """A judgement to make.

    Attributes:
        request: what was asked.
        task: the same, with the critic's own rubric where the request names none.
        sampling: of the rationale.
    """

    request: Request
    task: Task
    sampling: Sampling

    def unjudged(self) -> Judgement:
        """The result when it was cancelled before anything was known."""
        if isinstance(self.request, ScoreRequest):
            return Verdict("cancelled", None, None, {}, None, 0.0)
        return Preference("cancelled", None, {}, None, None, ())


class Maker(Protocol):
    """Makes the results of jobs."""

    def steps(self, job: Job, cancel: CancelToken) -> Steps[Any]:
        """The steps to a job's result; `cancel` stops the encoding of its pictures."""
        ...

    def unjudged(self, job: Job) -> Any:
        """The result of a job that was cancelled before it began."""
        ...


class JobToken(CancelToken):
    """Set when a job is no longer wanted."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    @property
    def cancelled(self) -> bool:
        return self._job.cancelled
