"""The critic in a thread of its own; the window hears of it by signals only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from PySide6.QtCore import QObject, Signal, Slot

from edgecritic import CancelToken, CompareRequest, Critic, CriticError
from edgecritic.progress import Event, OnEvent, Progress

Load: TypeAlias = Callable[[OnEvent], Critic]


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison. `cancel` may be set from any thread; that is how the window stops it."""

    request: CompareRequest
    cancel: CancelToken = field(default_factory=CancelToken)


class Worker(QObject):
    """Lives in a `QThread`. Its slots are called through queued connections, one after another.

    Args:
        load: makes the critic and tells how far it is; called in the worker's thread, because it
            takes a second.
    """

    progressed = Signal(object)
    """A `Progress`: of loading, of the picture, of reading, of writing."""
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

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self._critic: Critic | None = None

    @Slot()
    def load(self) -> None:
        """Load the critic."""
        try:
            self._critic = self._load(self._tell)
        except CriticError as error:
            self.failed.emit(error.message, error.hint)
        else:
            self.loaded.emit(self._critic.profile.name)

    @Slot(object)
    def judge(self, job: Job) -> None:
        """Compare, and emit each step as it happens."""
        try:
            if self._critic is None:
                raise CriticError("there is no critic", "start the app again when it can be loaded")
            judging = self._critic.submit(job.request, cancel=job.cancel, on_event=self._tell)
            self.preferred.emit(judging.result())
        except CriticError as error:
            self.failed.emit(error.message, error.hint)
        finally:
            self.ended.emit()

    def _tell(self, event: Event) -> None:
        """Called on the engine's thread; Qt carries signals over to the window's."""
        if isinstance(event, Progress):
            self.progressed.emit(event)
        elif isinstance(event, str):
            self.said.emit(event)
        else:
            self.preferred.emit(event)

    def close(self) -> None:
        """Free the critic; the thread must have ended."""
        if self._critic is not None:
            self._critic.close()
