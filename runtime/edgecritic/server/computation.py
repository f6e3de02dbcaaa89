"""One job on its way, and everybody who waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from edgecritic.server.failures import Failure
from edgecritic.server.jobs import Job


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a job; ``result`` and ``error`` are the last.

    Attributes:
        name: of the event.
        data: of the event.
        failure: of an error.
    """

    name: str
    data: dict[str, Any]
    failure: Failure | None = None


class Computation:
    """A job whose events any number of requests follow, from its beginning.

    Attributes:
        ended: there will be no more events.
        suspect: a process was lost while it did this and others.

    Args:
        job: what is computed.
        key: of the job; equal jobs have equal keys.
        left: called when the last of those who followed it has gone.
    """

    def __init__(self, job: Job, key: bytes, left: Callable[[Computation], None]) -> None:
        self.job = job
        self.key = key
        self.ended = False
        self.suspect = False
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self._followers = 0
        self._left = left

    @property
    def told(self) -> bool:
        """Generated text was told, which another run would tell again."""
        return self._has("text")

    @property
    def wanted(self) -> bool:
        """Somebody still waits for it."""
        return self._followers > 0

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Add an event; after the last one, nothing is added, and no verdict twice."""
        if not (name == "verdict" and self._has("verdict")):
            self._add(Event(name, data))

    def _has(self, name: str) -> bool:
        return any(event.name == name for event in self._events)

    def _add(self, event: Event) -> None:
        if self.ended:
            return
        self._events.append(event)
        self.ended = event.name in ("result", "error")
        self._changed.set()
        self._changed = asyncio.Event()

    def fail(self, failure: Failure) -> None:
        """End it without a result."""
        self._add(Event("error", failure.body, failure))

    @property
    def failed(self) -> bool:
        """It has ended without a result."""
        return self.ended and self._events[-1].failure is not None

    def join(self) -> None:
        """Wait for it, until one leaves."""
        self._followers += 1

    async def events(self) -> AsyncGenerator[Event, None]:
        """All its events, from the first to the last."""
        place = 0
        while True:
            changed = self._changed
            while place < len(self._events):
                yield self._events[place]
                place += 1
            if self.ended:
                return
            await changed.wait()

    def leave(self) -> None:
        """Wait for it no longer."""
        self._followers -= 1
        if not self._followers:
            self._left(self)


def job_key(model: str, job: Job) -> bytes:
    """Equal for equal jobs of one model."""
    return hashlib.sha256(model.encode() + b"\0" + pickle.dumps(job)).digest()
