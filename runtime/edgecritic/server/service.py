"""All models behind one bounded queue."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from edgecritic.server.catalogue import ServedModel
from edgecritic.server.computation import Computation, Event, job_key
from edgecritic.server.desk import Desk
from edgecritic.server.failures import Failure
from edgecritic.server.jobs import Job
from edgecritic.server.metrics import Metrics
from edgecritic.server.options import ServerOptions

logger = logging.getLogger(__name__)
_MOST_PATIENCE_S = 60


class Following:
    """One request's place at a computation.

    Args:
        computation: what it follows, from now on.
    """

    def __init__(self, computation: Computation) -> None:
        self._computation = computation
        self._here = True
        computation.join()

    def events(self) -> AsyncGenerator[Event, None]:
        """All events from the beginning."""
        return self._computation.events()

    def leave(self) -> None:
        """Give the place up; a computation that nobody follows is stopped. Idempotent."""
        if self._here:
            self._here = False
            self._computation.leave()


class Service:
    """Has jobs done by the models of a server.

    Attributes:
        arriving: bytes of bodies that are being received.

    Args:
        models: on offer; the first is the default.
        options: of the server.
    """

    def __init__(self, models: Sequence[ServedModel], options: ServerOptions) -> None:
        self.options = options
        self.metrics = Metrics()
        self.desks = {model.id: Desk(model, options, self.metrics) for model in models}
        self.default = models[0]
        self.arriving = 0
        self._running: dict[bytes, Computation] = {}
        self._draining = False

    def start(self) -> None:
        """Begin to serve."""
        for desk in self.desks.values():
            desk.start()

    @property
    def n_waiting(self) -> int:
        """Jobs that have not begun."""
        return sum(desk.n_waiting for desk in self.desks.values())

    def model(self, name: str | None) -> ServedModel:
        """The model of that id; the default one when None.

        Raises:
            Failure: there is none.
        """
        if name is None:
            return self.default
        if name not in self.desks:
            raise Failure(
                404,
                "model_not_found",
                f"there is no model {name[:80]!r}",
                f"models: {', '.join(self.desks)}",
            )
        return self.desks[name].model

    def alias(self, name: str | None) -> ServedModel:
        """The model of that id; the default one for every other name."""
        return self.model(name if name in self.desks else None)

    def follow(self, model: ServedModel, job: Job) -> Following:
        """Have a job done; whoever follows it must leave it.

        Raises:
            Failure: the queue is full, or the server is about to stop.
        """
        return Following(self._admitted(model, job))

    async def result(self, model: ServedModel, job: Job) -> dict[str, Any]:
        """The result of a job; being cancelled cancels it.

        Raises:
            Failure: there is none.
        """
        following = self.follow(model, job)
        try:
            async for event in following.events():
                if event.name == "result":
                    return event.data
                if event.failure is not None:
                    raise event.failure
        finally:
            following.leave()
        raise AssertionError("a computation ends with a result or an error")

    def _admitted(self, model: ServedModel, job: Job) -> Computation:
        if self._draining:
            raise stopping()
        key = job_key(model.id, job)
        if (same := self._running.get(key)) is not None and not same.ended and same.wanted:
            self.metrics.count("shared_total", model=model.id)
            return same
        desk = self.desks[model.id]
        idle = not desk.n_running and not desk.n_waiting
        if self.n_waiting >= self.options.queue and not idle:
            self.metrics.count("rejected_total", model=model.id)
            raise self._full()
        computation = Computation(job, key, self._giving_up(desk))
        self._running[key] = computation
        desk.put(computation)
        return computation

    def _giving_up(self, desk: Desk) -> Callable[[Computation], None]:
        def give_up(computation: Computation) -> None:
            desk.abandon(computation)
            if self._running.get(computation.key) is computation:
                del self._running[computation.key]

        return give_up

    def _full(self) -> Failure:
        patience = math.ceil(self.metrics.mean_seconds * (self.n_waiting + 1))
        seconds = min(max(1, patience), _MOST_PATIENCE_S)
        return Failure(
            429,
            "queue_full",
            f"{self.n_waiting} requests wait already",
            f"try again in {seconds} s, or start the server with a longer --queue",
            {"Retry-After": str(seconds)},
        )

    def drain(self) -> None:
        """Take no more jobs; those that wait are refused, those that run may finish."""
        self._draining = True
        for desk in self.desks.values():
            desk.refuse_waiting(stopping())

    async def stop(self) -> None:
        """End all processes."""
        self.drain()
        await asyncio.gather(*(desk.stop() for desk in self.desks.values()))


def stopping() -> Failure:
    """What requests are told while the server ends."""
    return Failure(
        503,
        "stopping",
        "the server is about to stop",
        "send the request again when it is back",
        {"Retry-After": "5"},
    )
