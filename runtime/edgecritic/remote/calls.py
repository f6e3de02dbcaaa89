"""Blocking work in a thread of its own, so that whoever waits for it can stop at once."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from edgecritic.backends.base import Cancelled, CancelToken
from edgecritic.errors import BackendUnavailableError

Result = TypeVar("Result")
# How often whoever waits looks at the cancel token.
_POLL_SECONDS = 0.05


class Cut(Exception):
    """Raised in the working thread: nobody waits for the result any more."""


class Line:
    """What the working thread and the waiting one share."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._cut = Event()
        self._lock = Lock()
        self._socket: socket.socket | None = None

    def hold(self, connected: socket.socket) -> None:
        """Name the socket that a cut has to close.

        Raises:
            Cut: it was cut already.
        """
        with self._lock:
            self._socket = connected
        self.check()

    def check(self) -> None:
        """Raise `Cut` if nobody waits any more."""
        if self._cut.is_set():
            raise Cut

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Cut`."""
        if self._cut.wait(seconds):
            raise Cut

    def cut(self) -> None:
        """End the work: what reads from the socket wakes up at once."""
        self._cut.set()
        with self._lock:
            if self._socket is not None:
                # Of the plain socket even under TLS, whose own shutdown pulls away what the
                # other thread is reading from.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class _Done(Generic[Result]):
    value: Result


class Call(Generic[Result]):
    """Work that has begun in another thread.

    Args:
        work: blocks; may say pieces of text on the line, and must heed its cut.
    """

    def __init__(self, work: Callable[[Line], Result]) -> None:
        self._items: SimpleQueue[str | BaseException | _Done[Result]] = SimpleQueue()
        self.line = Line(self._items.put)
        Thread(target=self._run, args=(work,), name="edgecritic-remote", daemon=True).start()

    def _run(self, work: Callable[[Line], Result]) -> None:
        try:
            self._items.put(_Done(work(self.line)))
        except BaseException as error:  # raised again where the result is waited for
            self._items.put(error)

    def steps(self, cancel: CancelToken | None) -> Generator[str, None, Result]:
        """The pieces as they are said, and the result; whoever leaves early cuts the line.

        Raises:
            Cancelled: `cancel` was set.
            BackendUnavailableError: the judge was closed.
            CriticError: the work failed.
        """
        try:
            while True:
                if cancel is not None and cancel.cancelled:
                    raise Cancelled
                try:
                    item = self._items.get(timeout=_POLL_SECONDS)
                except Empty:
                    continue
                if isinstance(item, str):
                    yield item
                elif isinstance(item, _Done):
                    return item.value
                elif isinstance(item, Cut):
                    raise BackendUnavailableError(
                        "the critic was closed while it judged", "load it again"
                    )
                else:
                    raise item
        finally:
            self.line.cut()

    def result(self, cancel: CancelToken | None) -> Result:
        """What the work returns; raises as `steps` does."""
        steps = self.steps(cancel)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                value: Result = end.value
                return value


def gather(
    start: Callable[[Callable[[Line], Result]], Call[Result]],
    works: Sequence[Callable[[Line], Result]],
    parallel: int,
    cancel: CancelToken | None,
) -> list[Result]:
    """Results of several works, in their order; the first failure cuts the others.

    Args:
        start: begins one.
        works: what to do.
        parallel: how many may be under way at once.
        cancel: stops all of them.
    """
    calls = [start(work) for work in works[:parallel]]
    results: list[Result] = []
    try:
        while len(results) < len(works):
            results.append(calls[len(results)].result(cancel))
            if len(calls) < len(works):
                calls.append(start(works[len(calls)]))
    finally:
        for call in calls[len(results) :]:
            call.line.cut()
    return results
