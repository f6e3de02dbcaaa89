"""The process that holds a model: it loads it, does one job after another, and tells events.

It is made for being lost. Whatever happens to it, a decoder that crashes or hangs, a system that
runs out of memory, costs one request; the server starts another one.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from edgecritic.backends.base import CancelToken
from edgecritic.errors import CriticError
from edgecritic.server.failures import UNEXPECTED, failure_of
from edgecritic.server.jobs import Job, JsonObject

if TYPE_CHECKING:
    from edgecritic.critic import Critic

logger = logging.getLogger(__name__)
_STDOUT, _STDERR = 1, 2


def work(connection: Connection, load: Callable[[], Critic]) -> None:
    """Serve one connection until it closes; the main function of the process.

    Args:
        connection: jobs and cancellations come in pickled, events go out as JSON.
        load: the critic's source.
    """
    # Ctrl-C reaches all processes of a terminal; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()  # what a crash was in the middle of is told on stderr
    # Nothing that an engine prints may get between the lines of a sidecar's stdout.
    with suppress(OSError):
        os.dup2(_STDERR, _STDOUT)
    _Worker(connection).run(load)


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = Lock()
        self._jobs: SimpleQueue[tuple[int, Job] | None] = SimpleQueue()
        self._tokens: dict[int, CancelToken] = {}

    def run(self, load: Callable[[], Critic]) -> None:
        Thread(target=self._listen, daemon=True).start()
        try:
            critic = load()
        except CriticError as error:
            self._say(None, "failed", failure_of(error).body)
            return
        with critic:
            self._say(None, "ready", {})
            while (item := self._jobs.get()) is not None:
                # The critic lets calls of several threads share its engine.
                Thread(target=self._do, args=(critic, *item), daemon=True).start()

    def _listen(self) -> None:
        """Take in what the server says; when it is gone, so is the reason to be."""
        try:
            while True:
                verb, number, job = self._connection.recv()
                if verb == "job":
                    self._tokens[number] = CancelToken()
                    self._jobs.put((number, job))
                elif verb == "cancel":
                    if token := self._tokens.get(number):
                        token.cancel()
                else:
                    self._jobs.put(None)
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("a message of the server cannot be read")
        os._exit(0)

    def _do(self, critic: Critic, number: int, job: Job) -> None:
        token = self._tokens[number]
        try:
            result = job.run(critic, token, lambda name, data: self._say(number, name, data))
            self._say(number, "result", result)
        except CriticError as error:
            self._say(number, "error", failure_of(error).body)
        except Exception:
            logger.exception("a %s failed", job.kind)
            self._say(number, "error", UNEXPECTED.body)
        finally:
            del self._tokens[number]

    def _say(self, number: int | None, name: str, data: JsonObject) -> None:
        message = json.dumps({"job": number, "event": name, "data": data}).encode()
        with self._sending:
            self._connection.send_bytes(message)
