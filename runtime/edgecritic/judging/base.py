"""What a `Critic` asks of whatever judges for it: an engine here, or an endpoint elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from edgecritic.backends.base import EngineInfo
from edgecritic.judging.jobs import Job
from edgecritic.judging.results import Shown
from edgecritic.requests import Orders
from edgecritic.verdict import Preference, Verdict

Judged = TypeVar("Judged", bound=Verdict | Preference)
SHOWN: Final[Mapping[Orders, tuple[Shown, ...]]] = {
    "both": ("first", "second"),
    "given": ("first",),
    "swapped": ("second",),
}


@dataclass(frozen=True, slots=True)
class QueueState:
    """How busy a critic is.

    Attributes:
        waiting: requests that nobody works at yet.
        limit: how many may wait.
    """

    waiting: int
    limit: int


class Judging(Protocol):
    """Makes judgements of requests that were checked already."""

    @property
    def info(self) -> EngineInfo:
        """What judges, for reports."""
        ...

    @property
    def queue(self) -> QueueState:
        """How busy it is."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs, all or none, and return at once; their futures tell how each ended.

        Raises:
            QueueFullError: too many requests wait.
            BackendUnavailableError: it is closed, or its engine does not answer.
        """
        ...

    def forget(self) -> None:
        """Drop what is kept between judgements, but for what runs at the moment."""
        ...

    def close(self) -> None:
        """End all jobs and free what is held. Idempotent."""
        ...
