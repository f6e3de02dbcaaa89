"""Workers as processes: a few at a time, listened to, and ended with whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread
from typing import IO, TypeAlias, cast

from edgecritic_bench.quantization.worker import Job

Message: TypeAlias = tuple["_Running", dict[str, object]]
_MODULE = "edgecritic_bench.quantization.worker"
_LAST_LINES = 5
_LOOK_EVERY_S = 0.5


@dataclass(slots=True, eq=False)
class _Running:
    """A worker; what it said of its failure, and its stderr."""

    job: Job
    process: subprocess.Popen[str]
    errors: IO[str]
    listener: Thread = field(default_factory=Thread)
    told: dict[str, object] = field(default_factory=dict)


def drive(
    jobs: Sequence[Job], at_once: int, judged: Callable[[str, int], object]
) -> dict[str, str]:
    """Run jobs, no further one once its time is over.

    Args:
        jobs: one for each arm, or for each part of one.
        at_once: processes at a time.
        judged: is given an arm's name and how many rows it has judged since.

    Returns:
        By arm why it failed; empty where none did.
    """
    waiting, failed = list(jobs), {}
    messages: Queue[Message] = Queue()
    with ExitStack() as stack:
        running: list[_Running] = []
        while running or waiting:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                if job.until is None or time.time() < job.until:
                    running.append(_started(job, messages, stack))
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                one.listener.join()
            for one, message in _said(messages):
                if "judged" in message:
                    judged(one.job.arm, int(str(message["judged"])))
                else:
                    one.told |= message
            for one in ended:
                running.remove(one)
                if why := _failure(one):
                    failed[one.job.arm] = why
    return failed


def _said(messages: Queue[Message]) -> Iterator[Message]:
    """What workers have said since, after a moment's wait for the first word."""
    try:
        yield messages.get(timeout=_LOOK_EVERY_S)
        while True:
            yield messages.get_nowait()
    except Empty:
        return


def _started(job: Job, messages: Queue[Message], stack: ExitStack) -> _Running:
    # The worker shall import the very code that runs here, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    errors = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115 - on the stack
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    )
    stack.callback(process.kill)
    stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
    stdin.write(job.to_json())
    stdin.close()
    running = _Running(job, process, errors)

    def listen() -> None:
        for line in stdout:
            try:
                messages.put((running, json.loads(line)))
            except ValueError:  # an engine's own words
                continue

    running.listener = Thread(target=listen, daemon=True)
    running.listener.start()
    return running


def _failure(ended: _Running) -> str:
    if not ended.process.returncode:
        return ""
    if "error" in ended.told:
        return str(ended.told["error"])
    ended.errors.seek(0)
    last = ended.errors.read().strip().splitlines()[-_LAST_LINES:]
    return f"its process ended with code {ended.process.returncode}: {' | '.join(last)}"
