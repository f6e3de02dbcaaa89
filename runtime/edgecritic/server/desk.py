"""The queue in front of one model, and the process behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from typing import Literal, TypeAlias

from edgecritic.server.catalogue import ServedModel
from edgecritic.server.computation import Computation
from edgecritic.server.failures import UNEXPECTED, Failure, crashed
from edgecritic.server.metrics import Metrics
from edgecritic.server.options import Limits
from edgecritic.server.process import LOST, Message, WorkerProcess

logger = logging.getLogger(__name__)
State: TypeAlias = Literal["unloaded", "loading", "ready", "failed"]


class Desk:
    """Takes jobs for one model and has them done, one after another.

    Args:
        model: what its process loads.
        limits: on loading, judging and cancelling.
        idle_unload_s: see `ServerOptions`.
        metrics: are told what happens.
    """

    def __init__(
        self, model: ServedModel, limits: Limits, idle_unload_s: float, metrics: Metrics
    ) -> None:
        self.model = model
        self.state: State = "unloaded"
        self._limits = limits
        self._idle_s = idle_unload_s or None
        self._metrics = metrics
        self._waiting: deque[Computation] = deque()
        self._arrived = asyncio.Event()
        self._process: WorkerProcess | None = None
        self._current: Computation | None = None
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """A job is being done."""
        return self._current is not None

    def start(self) -> None:
        """Begin to serve; nothing is loaded before the first job."""
        self._task = asyncio.create_task(self._serve())

    def put(self, computation: Computation) -> None:
        """Queue a job."""
        self._waiting.append(computation)
        self._arrived.set()

    def abandon(self, computation: Computation) -> None:
        """Nobody waits for that job any more: forget it, or have it stopped."""
        with suppress(ValueError):
            self._waiting.remove(computation)
        if computation is self._current and not computation.ended:
            self._metrics.count("cancelled_total", model=self.model.id)
            self._interrupt()

    def refuse_waiting(self, failure: Failure) -> None:
        """End all jobs that have not begun."""
        while self._waiting:
            self._waiting.popleft().fail(failure)

    async def stop(self) -> None:
        """End the process, and whatever it does."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._unload()

    async def _serve(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_s if self._process else None):
                    await self._arrived.wait()
            except TimeoutError:
                logger.info("%s is unloaded: nobody has asked for it", self.model.id)
                await self._unload()
                continue
            while self._waiting:
                self._current = self._waiting.popleft()
                self._current.started = True
                try:
                    await self._do(self._current)
                except Exception:
                    logger.exception("%s: the queue failed", self.model.id)
                    self._current.fail(crashed("asked"))
                    await self._unload()
                finally:
                    self._current = None
            self._arrived.clear()

    async def _do(self, computation: Computation) -> None:
        started = time.perf_counter()
        process = await self._loaded(computation)
        if process is not None and computation.wanted:
            await self._judge(process, computation)
        self._metrics.judged(
            self.model.id,
            computation.job.kind,
            "error" if computation.failed else "ok",
            time.perf_counter() - started,
        )

    async def _loaded(self, computation: Computation) -> WorkerProcess | None:
        """The process with the model; None if there is none, which the job is told."""
        if self._process is not None and self._process.lost:
            logger.error("%s: its process has ended, and is started anew", self.model.id)
            await self._unload()
        if self._process is not None:
            return self._process
        self.state = "loading"
        computation.tell("progress", {"stage": "loading"})
        process = self._process = WorkerProcess(self.model.source)
        failure = crashed("loading the model")
        try:
            async with asyncio.timeout(self._limits.loading_s):
                await process.start()
                message = await process.inbox.get()
            if message.event == "ready":
                self.state = "ready"
                self._metrics.count("loads_total", model=self.model.id)
                return process
            if message.event == "failed":
                failure = _told(message)
        except TimeoutError:
            failure = Failure(
                503,
                "model_unavailable",
                f"{self.model.id} was not loaded within {self._limits.loading_s:g} s",
                "try again when the machine has less to do",
            )
        logger.error("%s: %s", self.model.id, failure.message)
        self.state = "failed"
        computation.fail(failure)
        process.kill()
        await self._unload("failed")
        return None

    async def _judge(self, process: WorkerProcess, computation: Computation) -> None:
        self._number += 1
        limit = self._limits.judging_s * max(1, computation.job.weight)
        overdue = asyncio.get_running_loop().call_later(limit, self._overdue, computation, limit)
        try:
            await process.send(self._number, computation.job)
            if not computation.wanted:  # it was abandoned while it was handed over
                self._interrupt()
            while True:
                message = await process.inbox.get()
                if message is LOST:
                    self._metrics.count("worker_restarts_total", model=self.model.id)
                    logger.error("%s: its process ended during a job", self.model.id)
                    computation.fail(crashed("judging"))
                    await self._unload()
                    return
                if message.job != self._number:
                    continue
                _pass_on(message, computation)
                if message.event == "result":
                    self._metrics.used(self.model.id, message.data.get("usage", {}))
                if message.event in ("result", "error"):
                    break
            if message.data.get("error", {}).get("code") == UNEXPECTED.code:
                await self._unload()  # what was left behind in the engine is unknown
        finally:
            overdue.cancel()

    def _overdue(self, computation: Computation, limit: float) -> None:
        computation.fail(
            Failure(
                504,
                "time_limit",
                f"the judgement was not made within {limit:g} s",
                "ask for less: a smaller picture, fewer tokens, no reason",
            )
        )
        # Whether its engine is slow or hangs cannot be told from outside.
        if self._process is not None:
            self._process.kill()

    def _interrupt(self) -> None:
        """Have the current job stopped; a process that does not heed it is ended."""
        process, current = self._process, self._current
        if process is None or current is None or self.state != "ready":
            return
        process.cancel(self._number)
        later = asyncio.get_running_loop().call_later

        def insist() -> None:
            if self._current is current and self._process is process:
                logger.error("%s: its process does not stop, and is ended", self.model.id)
                process.kill()

        later(self._limits.cancelling_s, insist)

    async def _unload(self, state: State = "unloaded") -> None:
        process, self._process = self._process, None
        self.state = state
        if process is not None:
            await process.stop()


def _told(message: Message) -> Failure:
    """Why a model could not be loaded."""
    failure = Failure.of_body(message.data)
    return Failure(503, "model_unavailable", failure.message, failure.hint)


def _pass_on(message: Message, computation: Computation) -> None:
    if message.event == "error":
        computation.fail(Failure.of_body(message.data))
    else:
        computation.tell(message.event, message.data)
