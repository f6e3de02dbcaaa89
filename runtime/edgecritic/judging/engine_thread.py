"""The one thread that an engine is used from, the queue in front of it, and who watches it."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Event, Thread, current_thread
from time import monotonic
from typing import Final

from edgecritic.backends.base import Backend, BackendInfo
from edgecritic.errors import BackendUnavailableError, QueueFullError
from edgecritic.heap import trim
from edgecritic.judging.base import QueueState
from edgecritic.judging.jobs import Job, Maker
from edgecritic.judging.pool import PrefixPool
from edgecritic.judging.scheduler import Scheduler

logger = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.02
"""How often the watch looks whether what is computed is still wanted."""
_GIVE_UP_SECONDS: Final = 2.0
"""How long closing waits for an engine that was given up already."""


class EngineThread:
    """Takes requests from any thread and judges them on a thread of its own.

    The thread begins with the first request. A process that was forked from this one cannot judge:
    threads do not survive a fork, and neither does an engine.

    Args:
        backend: the engine; it is closed in the end.
        maker: makes the results.
        name: of the critic, for messages.
        queue_limit: requests that may wait.
        patience: seconds after which an engine that does not ask whether to go on hangs.
        deterministic: see `Scheduler`.
        prefix_bytes: keys and values that may be kept between calls; see `PrefixPool`.
    """

    def __init__(
        self,
        backend: Backend,
        maker: Maker,
        name: str,
        *,
        queue_limit: int,
        patience: float,
        deterministic: bool,
        prefix_bytes: int | None = None,
    ) -> None:
        self._backend = backend
        self._name = name
        self._limit = queue_limit
        self._patience = patience
        self._pool = PrefixPool(backend, _cells(prefix_bytes, backend.info))
        self._maker = maker
        self._scheduler = Scheduler(backend, maker, self._pool, deterministic=deterministic)
        self._waiting: deque[Job] = deque()
        self._wake = Condition()
        self._errands: deque[tuple[Callable[[], None], Event]] = deque()
        self._working = Event()
        self._over = Event()
        self._thread: Thread | None = None
        self._refusal: BackendUnavailableError | None = None
        self._process = os.getpid()

    @property
    def info(self) -> BackendInfo:
        """The engine."""
        return self._backend.info

    @property
    def queue(self) -> QueueState:
        """How many requests wait."""
        return QueueState(len(self._waiting), self._limit)

    def submit(self, jobs: Sequence[Job]) -> None:
        """See `Judging.submit`; an empty queue takes any number of jobs at once."""
        if os.getpid() != self._process:
            raise BackendUnavailableError(
                f"the critic {self._name} was loaded in process {self._process}, this is a fork "
                "of it",
                "load the critic in the process that judges, or start processes by spawn",
            )
        with self._wake:
            if self._refusal is not None:
                raise self._refusal
            if self._waiting and len(self._waiting) + len(jobs) > self._limit:
                raise QueueFullError(len(self._waiting), self._limit)
            self._waiting.extend(jobs)
            self._start()
            self._wake.notify_all()

    def forget(self) -> None:
        """Drop what is kept between judgements."""
        done = Event()
        with self._wake:
            if self._thread is None or self._refusal is not None:
                return
            self._errands.append((self._pool.forget, done))
            self._wake.notify_all()
        if current_thread() is not self._thread:
            while not (done.wait(_LOOK_SECONDS) or self._over.is_set()):
                pass

    def close(self) -> None:
        """End all judgements and free the engine; waits until that is done."""
        if os.getpid() != self._process:
            return
        with self._wake:
            given_up = self._refusal is not None and not self._over.is_set()
            if self._refusal is None:
                self._refusal = BackendUnavailableError(
                    f"the critic {self._name} is closed", "load it again"
                )
            thread = self._thread
            self._wake.notify_all()
        if thread is None:
            self._backend.close()
        elif thread is not current_thread():
            self._interrupt()
            thread.join(_GIVE_UP_SECONDS if given_up else None)

    def _start(self) -> None:
        if self._thread is None:
            # Daemons: the interpreter's end is not held up; a critic's finalizer closes it.
            self._thread = Thread(target=self._run, name=f"edgecritic-{self._name}", daemon=True)
            self._thread.start()
            Thread(target=self._watch, name="edgecritic-watch", daemon=True).start()

    # --- in the thread ---

    def _run(self) -> None:
        try:
            while self._await_work():
                self._scheduler.step()
        except BaseException as error:
            logger.exception("the thread of %s failed", self._name)
            self._refuse(BackendUnavailableError(f"{self._name} failed: {error}", "load it again"))
        finally:
            self._end()

    def _await_work(self) -> bool:
        """Wait for something to do and begin it; False when it is over."""
        while True:
            with self._wake:
                while not (self._waiting or self._errands or self._scheduler.busy or self._refusal):
                    self._working.clear()
                    self._wake.wait()
                if self._refusal is not None:
                    return False
                self._scheduler.beat = monotonic()
                if not self._working.is_set():
                    self._working.set()
                errand = self._errands.popleft() if self._errands else None
                takes = bool(self._waiting) and self._scheduler.accepts
                job = self._waiting.popleft() if takes and errand is None else None
            if errand is not None:
                work, done = errand
                work()
                done.set()
            elif job is not None:
                self._scheduler.admit(job)
            else:
                return True

    def _end(self) -> None:
        self._fail_all(
            BackendUnavailableError("the critic was closed while it judged", "load it again")
        )
        self._over.set()
        self._working.set()
        with suppress(Exception):  # an engine that failed may not even let go
            self._scheduler.release()
        with suppress(Exception):
            self._backend.close()
        trim()

    def _fail_all(self, error: BackendUnavailableError) -> None:
        self._scheduler.abandon(error)
        with self._wake:
            waiting = tuple(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.fail(error)

    # --- the watch ---

    def _watch(self) -> None:
        """End what is no longer wanted while the engine is busy; give up an engine that hangs."""
        while not self._over.wait(_LOOK_SECONDS):
            self._working.wait()
            self._scheduler.sweep()
            self._drop_cancelled()
            if self._refusal is not None:
                self._interrupt()
            if self._working.is_set() and monotonic() - self._scheduler.beat > self._patience:
                error = BackendUnavailableError(
                    f"the engine of {self._name} has not answered for {self._patience:g} s",
                    "load the critic again, in a new process if that hangs as well",
                )
                self._refuse(error)
                self._fail_all(error)
                return

    def _drop_cancelled(self) -> None:
        """Tell jobs that wait and were cancelled, without waiting for their turn."""
        with self._wake:
            cancelled = [job for job in self._waiting if job.cancelled]
            for job in cancelled:
                self._waiting.remove(job)
        for job in cancelled:
            job.finish(self._maker.unjudged(job))

    def _refuse(self, error: BackendUnavailableError) -> None:
        with self._wake:
            self._refusal = self._refusal or error

    def _interrupt(self) -> None:
        """Stop what is computed: all judgements end."""
        self._scheduler.abandon(
            BackendUnavailableError("the critic was closed while it judged", "load it again")
        )


def _cells(n_bytes: int | None, info: BackendInfo) -> int | None:
    """As many cells of an engine as so many bytes hold."""
    return None if n_bytes is None else min(info.n_ctx, n_bytes // info.cell_bytes)
