"""The critic in a thread of its own; the window hears of it by signals only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from edgecritic import CancelToken, Critic, CriticError

MAX_REASON_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison. `cancel` may be set from any thread; that is how the window stops it."""

    image: Path | None
    question: str
    first: str
    second: str
    cancel: CancelToken = field(default_factory=CancelToken)


class Worker(QObject):
    """Lives in a `QThread`. Its slots are called through queued connections, one after another.

    Args:
        load: makes the critic; called in the worker's thread, because it takes a second.
    """

    loaded = Signal(str)
    """The critic's name."""
    preferred = Signal(object)
    """A `Preference`: first without its reason, then with all of it."""
    said = Signal(str)
    """A piece of the reason."""
    failed = Signal(str, str)
    """Message and hint of a `CriticError`."""
    ended = Signal()
    """Behind each job, however it ended."""

    def __init__(self, load: Callable[[], Critic]) -> None:
        super().__init__()
        self._load = load
        self._critic: Critic | None = None

    @Slot()
    def load(self) -> None:
        """Load the critic."""
        try:
            self._critic = self._load()
        except CriticError as error:
            self.failed.emit(error.message, error.hint)
        else:
            self.loaded.emit(self._critic.profile.name)

    @Slot(object)
    def judge(self, job: Job) -> None:
        """Compare, and emit each step as it happens."""
        try:
            self._compare(job)
        except CriticError as error:
            self.failed.emit(error.message, error.hint)
        finally:
            self.ended.emit()

    def _compare(self, job: Job) -> None:
        if self._critic is None:
            raise CriticError("there is no critic", "start the app again when it can be loaded")
        steps = self._critic.compare_stream(
            job.image,
            job.question,
            job.first,
            job.second,
            cancel=job.cancel,
            max_rationale_tokens=MAX_REASON_TOKENS,
        )
        with closing(steps):  # a stream keeps its turn until it is closed
            for step in steps:
                if isinstance(step, str):
                    self.said.emit(step)
                else:
                    self.preferred.emit(step)

    def close(self) -> None:
        """Free the critic; the thread must have ended."""
        if self._critic is not None:
            self._critic.close()
