"""The queue in front of one model, and the process behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgecritic.server.catalogue import ServedModel
from edgecritic.server.computation import Computation
from edgecritic.server.failures import UNAVAILABLE, UNEXPECTED, Failure, crashed
from edgecritic.server.metrics import Metrics
from edgecritic.server.options import ServerOptions
from edgecritic.server.process import LOST, Message, WorkerProcess

logger = logging.getLogger(__name__)
State: TypeAlias = Literal["unloaded", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class _Running:
    """A job that the process has been given.

    Attributes:
        computation: it.
        overdue: ends it when its time is up.
        started: when it was begun.
    """

    computation: Computation
    overdue: asyncio.TimerHandle
    started: float


class Desk:
    """Takes jobs for one model and has several of them done at once.

    When the process is lost, whoever it was lost for is told so, and the others' jobs are done
    again. Where it is not known who that was, each is done again alone.

    Args:
        model: what its process loads.
        options: of the server.
        metrics: are told what happens.
    """

    def __init__(self, model: ServedModel, options: ServerOptions, metrics: Metrics) -> None:
        self.model = model
        self.state: State = "unloaded"
        self._options = options
        self._metrics = metrics
        self._waiting: deque[Computation] = deque()
        self._running: dict[int, _Running] = {}
        self._wake = asyncio.Event()
        self._process: WorkerProcess | None = None
        self._culprit_known = False
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        return len(self._running)

    def start(self) -> None:
        """Begin to serve; nothing is loaded before the first job."""
        self._tasks.add(asyncio.create_task(self._serve()))

    def put(self, computation: Computation) -> None:
        """Queue a job."""
        self._waiting.append(computation)
        self._wake.set()

    def abandon(self, computation: Computation) -> None:
        """Nobody waits for that job any more: forget it, or have it stopped."""
        with suppress(ValueError):
            self._waiting.remove(computation)
        for number, running in self._running.items():
            if running.computation is computation and not computation.ended:
                self._metrics.count("cancelled_total", model=self.model.id)
                self._interrupt(number)

    def refuse_waiting(self, failure: Failure) -> None:
        """End all jobs that have not begun."""
        while self._waiting:
            self._waiting.popleft().fail(failure)

    async def stop(self) -> None:
        """End the process, and whatever it does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._unload()

    # --- jobs ---

    async def _serve(self) -> None:
        while True:
            self._wake.clear()
            if self._may_begin:
                await self._begin(self._waiting.popleft())
                continue
            idle = self._process is not None and not self._running and not self._waiting
            try:
                async with asyncio.timeout(self._options.idle_unload_s or None if idle else None):
                    await self._wake.wait()
            except TimeoutError:
                logger.info("%s is unloaded: nobody has asked for it", self.model.id)
                await self._unload()

    @property
    def _may_begin(self) -> bool:
        if not self._waiting:
            return False
        alone = self._waiting[0].suspect or any(
            running.computation.suspect for running in self._running.values()
        )
        return len(self._running) < (1 if alone else self._options.parallel)

    async def _begin(self, computation: Computation) -> None:
        process = await self._loaded(computation)
        if process is None or not computation.wanted:
            return
        self._number += 1
        number = self._number
        limit = self._options.limits.judging_s * max(1, computation.job.weight)
        overdue = asyncio.get_running_loop().call_later(limit, self._overdue, number, limit)
        self._running[number] = _Running(computation, overdue, time.perf_counter())
        process.send(number, computation.job)

    def _end(self, number: int) -> None:
        """Forget a job that has ended."""
        running = self._running.pop(number)
        running.overdue.cancel()
        self._metrics.judged(
            self.model.id,
            running.computation.job.kind,
            "error" if running.computation.failed else "ok",
            time.perf_counter() - running.started,
        )
        self._wake.set()

    def _fail(self, number: int, failure: Failure) -> None:
        self._running[number].computation.fail(failure)
        self._end(number)

    def _overdue(self, number: int, limit: float) -> None:
        failure = Failure(
            504,
            "time_limit",
            f"the judgement was not made within {limit:g} s",
            "ask for less: a smaller picture, fewer tokens, no reason",
        )
        # Whether its engine is slow or hangs, and for which job, cannot be told from outside.
        if len(self._running) == 1:
            self._kill_for(number, failure)
        elif self._process is not None:
            self._process.kill()

    def _interrupt(self, number: int) -> None:
        """Have a job stopped; a process that does not heed it is ended."""
        if self._process is not None:
            self._process.cancel(number)
        seconds = self._options.limits.cancelling_s
        asyncio.get_running_loop().call_later(seconds, self._insist, number)

    def _insist(self, number: int) -> None:
        if number in self._running:
            logger.error("%s: its process does not stop, and is ended", self.model.id)
            self._kill_for(number, crashed("stopping"))

    def _kill_for(self, number: int, failure: Failure) -> None:
        """End the process for what one job has done to it."""
        self._fail(number, failure)
        self._culprit_known = True
        if self._process is not None:
            self._process.kill()

    # --- the process ---

    async def _loaded(self, computation: Computation) -> WorkerProcess | None:
        """The process with the model; None if there is none, which the job is told."""
        if self._process is not None and self._process.lost:  # before its last message was read
            self._share_the_loss()
            await self._unload()
        if self._process is not None:
            return self._process
        self.state = "loading"
        computation.tell("progress", {"stage": "loading"})
        process = self._process = WorkerProcess(self.model.source)
        failure = crashed("loading the model")
        seconds = self._options.limits.loading_s
        try:
            async with asyncio.timeout(seconds):
                await process.start()
                message = await process.inbox.get()
            if message.event == "ready":
                self.state = "ready"
                self._metrics.count("loads_total", model=self.model.id)
                self._listen_to(process)
                return process
            if message.event == "failed":
                said = Failure.of_body(message.data)
                failure = Failure(503, UNAVAILABLE, said.message, said.hint)
        except TimeoutError:
            failure = Failure(
                503,
                UNAVAILABLE,
                f"{self.model.id} was not loaded within {seconds:g} s",
                "try again when the machine has less to do",
            )
        logger.error("%s: %s", self.model.id, failure.message)
        self.state = "failed"
        computation.fail(failure)
        process.kill()
        await self._unload("failed")
        return None

    def _listen_to(self, process: WorkerProcess) -> None:
        task = asyncio.create_task(self._listen(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, process: WorkerProcess) -> None:
        while (message := await process.inbox.get()) is not LOST:
            if message.job in self._running:
                self._take(message.job, message)
        if process is self._process:
            logger.error("%s: its process has ended", self.model.id)
            self._metrics.count("worker_restarts_total", model=self.model.id)
            self._share_the_loss()
            await self._unload()
            self._wake.set()

    def _take(self, number: int, message: Message) -> None:
        computation = self._running[number].computation
        if message.event != "error":
            computation.tell(message.event, message.data)
            if message.event == "result":
                self._metrics.used(self.model.id, message.data.get("usage", {}))
                self._end(number)
            return
        failure = Failure.of_body(message.data)
        ended = failure.code == UNAVAILABLE  # the engine has, and under all jobs alike
        if failure.code == UNEXPECTED.code or (ended and len(self._running) == 1):
            self._kill_for(number, failure)  # what was left behind in the engine is unknown
        elif ended and self._process is not None:
            self._process.kill()
        else:
            self._fail(number, failure)

    def _share_the_loss(self) -> None:
        """Tell the job that the process was lost for; queue the others again."""
        alone = not self._culprit_known and len(self._running) == 1
        for number in sorted(self._running, reverse=True):
            computation = self._running[number].computation
            if alone or computation.told or not computation.wanted:
                self._fail(number, crashed("judging"))
                continue
            computation.suspect = computation.suspect or not self._culprit_known
            self._running.pop(number).overdue.cancel()
            self._waiting.appendleft(computation)
        self._culprit_known = False

    async def _unload(self, state: State = "unloaded") -> None:
        process, self._process = self._process, None
        self.state = state
        if process is not None:
            await process.stop()
