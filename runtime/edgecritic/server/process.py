"""The server's side of a worker process: start it, talk to it, end it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from edgecritic.server.catalogue import CriticSource
from edgecritic.server.jobs import Job
from edgecritic.server.worker import work

_MAX_MESSAGE = 64 * 2**20
_STOPPING_S = 2.0


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker said.

    Attributes:
        job: which one it is about, or None for the process itself.
        event: ``ready``, ``failed``, ``lost``, or an event of a job.
        data: of the event.
    """

    job: int | None
    event: str
    data: dict[str, Any]


LOST = Message(None, "lost", {})


class WorkerProcess:
    """A running worker.

    Its messages arrive in `inbox`, the last of them `LOST`, however the process has ended; then
    `lost` is true.

    Args:
        source: loads the model there.
    """

    def __init__(self, source: CriticSource) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._outbox: SimpleQueue[tuple[str, int, Job | None] | None] = SimpleQueue()
        self.lost = False
        self._process: Any = None
        # Whoever waits for the start may leave in the middle of it; the end must see all of it.
        self._starting = Lock()
        self._ended = False

    async def start(self) -> None:
        """Start the process; loading the model has begun when this returns."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        with self._starting:
            if not self._ended:
                self._begin()

    def _begin(self) -> None:
        # Forking a process with threads, and an engine's state, is not safe: spawn.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self._source), name="edgecritic-worker", daemon=True
        )
        process.start()
        theirs.close()
        self._process = process
        sending = Thread(target=self._send, args=(ours,), daemon=True)
        sending.start()
        Thread(target=self._listen, args=(ours, sending), daemon=True).start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def send(self, number: int, job: Job) -> None:
        """Hand a job over; like `cancel` without waiting for a process that does not read."""
        self._outbox.put(("job", number, job))

    def cancel(self, number: int) -> None:
        """Ask for a job to be stopped."""
        self._outbox.put(("cancel", number, None))

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """End the process when it has done its job, or after two seconds; wait for its end."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with self._starting:
            self._ended = True
        if self._process is None:
            return
        self._outbox.put(("stop", 0, None))
        self._process.join(_STOPPING_S)
        self._process.kill()
        self._process.join()

    def _send(self, connection: Connection) -> None:
        # A process that is gone says so itself, by the end of its messages.
        with suppress(OSError, ValueError):
            while (message := self._outbox.get()) is not None:
                connection.send(message)

    def _listen(self, connection: Connection, sending: Thread) -> None:
        try:
            while True:
                said = json.loads(connection.recv_bytes(_MAX_MESSAGE))
                self._take(Message(said["job"], said["event"], said["data"]))
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            pass
        finally:
            self.kill()  # it may have closed its end only, or talk nonsense
            self._outbox.put(None)
            sending.join()
            connection.close()
            self.lost = True
            self._take(LOST)

    def _take(self, message: Message) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(self.inbox.put_nowait, message)
