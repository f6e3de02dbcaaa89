"""The engines' processes, as the bench's own process sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, Any, Self, cast

from edgecritic import BackendUnavailableError
from edgecritic_bench.speed.engines import Setup

Answer = dict[str, Any]
_LAST_LINES = 5
_WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
"""For all engines what the command line sets for edgecritic; see docs/experiments.md."""


class Worker:
    """A running engine, with pipes to it.

    Args:
        name: of `ENGINES`.
        setup: how it shall run.

    Attributes:
        start: what it said when it was loaded.

    Raises:
        BackendUnavailableError: it could not start.
    """

    def __init__(self, name: str, setup: Setup) -> None:
        self.name = name
        # The worker shall import the very code that runs here, installed or not.
        environment = {
            **_WAITING,
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the worker
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "edgecritic_bench.speed.worker"),
                *(name, json.dumps(asdict(setup))),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        try:
            self.start = self._answer()
        except BaseException:
            self.close()
            raise

    def do(self, job: str, **parameters: object) -> Answer:
        """Have a job done.

        Raises:
            BackendUnavailableError: the process died. What goes wrong in a job is in the answer.
        """
        stdin = cast(IO[str], self._process.stdin)
        try:
            stdin.write(json.dumps({"job": job, **parameters}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            self._died()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> Answer:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            self._died()
        answer: Answer = json.loads(line)
        return answer

    def _died(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-_LAST_LINES:]
        raise BackendUnavailableError(
            f"the {self.name} process ended with code {self._process.returncode}: "
            + " | ".join(last),
            "the last line says what is missing or broken",
        )


class Fleet:
    """Workers, started when they are first needed.

    Args:
        setup: how all of them shall run.
        tell: is told who started, and who could not.
    """

    def __init__(self, setup: Setup, tell: Callable[[str, Answer], None]) -> None:
        self.setup = setup
        self._tell = tell
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}
        self._broken: set[str] = set()

    def do(self, engine: str, job: str, **parameters: object) -> Answer:
        """Have an engine do a job; the answer has ``error`` where it could not."""
        if engine in self._broken:
            return {"error": "it is not running"}
        try:
            return self._worker(engine).do(job, **parameters)
        except BackendUnavailableError as error:
            self._broken.add(engine)
            self._tell(engine, {"error": error.message})
            return {"error": error.message}

    def alone(self, engine: str) -> Worker:
        """A further process of an engine; the caller closes it."""
        return Worker(engine, self.setup)

    def _worker(self, engine: str) -> Worker:
        if engine not in self._workers:
            worker = Worker(engine, self.setup)
            self._stack.callback(worker.close)
            self._workers[engine] = worker
            self._tell(engine, {"start": worker.start, "warm": _warmed(worker)})
        return self._workers[engine]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def _warmed(worker: Worker) -> Mapping[str, object]:
    """Its first verdict, which does not count."""
    return worker.do("task", task="verdict", number=0, size=(256, 256), count=1, few=1)
