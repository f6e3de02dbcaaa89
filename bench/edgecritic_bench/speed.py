"""Runs both engines side by side and compares what a judgement costs.

Each round starts one fresh process per engine and lets them take turns, task by task (A B A B):
what else the machine does then meets both. Which of them goes first alternates between rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Literal, TypeAlias, cast

import numpy as np

from edgecritic import BackendUnavailableError
from edgecritic_bench.speed_tasks import ORDERED_PAIRS
from edgecritic_bench.speed_worker import HANDLER_PAIRS

EngineName: TypeAlias = Literal["edgecritic", "handler"]
Task: TypeAlias = Literal["verdict", "cached", "compare", "rank"]

ENGINES: tuple[EngineName, EngineName] = ("edgecritic", "handler")
TASKS: tuple[Task, ...] = ("verdict", "cached", "compare", "rank")
_QUARTILES = (25, 50, 75)
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """What to run.

    Attributes:
        bundle: folder, or ``embedded``.
        image: a picture's path, or ``default`` for a drawn one.
        threads: of either engine.
        rounds: fresh processes per engine.
        repeats: of each task in a round, behind one that does not count.
    """

    bundle: str = "embedded"
    image: str = "default"
    threads: int = 2
    rounds: int = 3
    repeats: int = 5


@dataclass(frozen=True, slots=True)
class Samples:
    """What one engine took for one task, repetition by repetition.

    Attributes:
        wall: seconds.
        processor: seconds of processor time, all threads.
        decided: what it decided last.
        tokens: of its last prompt.
    """

    wall: tuple[float, ...]
    processor: tuple[float, ...]
    decided: str
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MiB, the greatest of all rounds.

    Attributes:
        loaded: right after loading.
        peak: peak at the end.
        anonymous: part of the end's memory that is no mapped file; NaN where unknown.
    """

    loaded: float
    peak: float
    anonymous: float


@dataclass(frozen=True, slots=True)
class SpeedResult:
    """Everything measured in one run."""

    samples: Mapping[tuple[EngineName, Task], Samples]
    memory: Mapping[EngineName, Memory]
    load_seconds: Mapping[EngineName, float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Handler's time over edgecritic's: above 1, edgecritic is faster.

    Attributes:
        median: of the ratios of neighbouring repetitions.
        low: their lower quartile.
        high: their upper quartile.
        n: repetitions.
    """

    median: float
    low: float
    high: float
    n: int


def scaled(task: Task, engine: EngineName, seconds: float) -> float:
    """Seconds of the whole task, where only a part of it was run."""
    if engine == "handler" and task == "rank":
        return seconds * len(ORDERED_PAIRS) / HANDLER_PAIRS
    return seconds


def ratio(result: SpeedResult, task: Task, clock: Literal["wall", "processor"] = "wall") -> Ratio:
    """How many times longer the handler takes."""
    ours, theirs = (
        np.array([scaled(task, engine, s) for s in getattr(result.samples[engine, task], clock)])
        for engine in ENGINES
    )
    low, median, high = np.percentile(theirs / ours, _QUARTILES)
    return Ratio(float(median), float(low), float(high), len(ours))


@dataclass(slots=True)
class _Worker:
    """A running engine, with pipes to it."""

    name: EngineName
    process: subprocess.Popen[str]
    errors: IO[str]
    start: dict[str, Any] = field(default_factory=dict)

    def do(self, task: Task, number: int) -> dict[str, Any]:
        stdin = cast(IO[str], self.process.stdin)
        try:
            stdin.write(json.dumps({"task": task, "number": number}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            self._died()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        line = cast(IO[str], self.process.stdout).readline()
        if not line:
            self._died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self) -> None:
        self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-_LAST_LINES:]
        raise BackendUnavailableError(
            f"the {self.name} process ended with code {self.process.returncode}: "
            + " | ".join(last),
            "the last line says what is missing or broken",
        )


@contextmanager
def _started(name: EngineName, options: SpeedOptions) -> Iterator[_Worker]:
    # The worker shall import the very code that runs here, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [name, options.bundle, str(options.threads), options.image]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "edgecritic_bench.speed_worker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process,
    ):
        worker = _Worker(name, process, errors)
        try:
            worker.start = worker.answer()
            yield worker
        finally:
            process.kill()


def measure(options: SpeedOptions, tasks: Sequence[Task] = TASKS) -> Iterator[str | SpeedResult]:
    """Run the bench.

    Yields:
        What goes on, one line a round, and at the end the result.

    Raises:
        BackendUnavailableError: an engine could not start, or died.
    """
    answers: dict[tuple[EngineName, Task], list[dict[str, Any]]] = {
        (engine, task): [] for engine in ENGINES for task in tasks
    }
    starts: dict[EngineName, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    number = 0
    for round_number in range(options.rounds):
        order = ENGINES if round_number % 2 == 0 else ENGINES[::-1]
        with ExitStack() as stack:
            workers = [stack.enter_context(_started(name, options)) for name in order]
            for worker in workers:
                starts[worker.name].append(worker.start)
                worker.do("verdict", number)
            for task in tasks:
                for _ in range(options.repeats):
                    number += 1
                    for worker in workers:
                        answers[worker.name, task].append(worker.do(task, number))
        yield f"round {round_number + 1} of {options.rounds} is done"
    yield SpeedResult(
        samples={key: _samples(found) for key, found in answers.items()},
        memory={
            engine: _memory(starts[engine], [a for task in tasks for a in answers[engine, task]])
            for engine in ENGINES
        },
        load_seconds={
            engine: float(np.median([start["loaded"] for start in starts[engine]]))
            for engine in ENGINES
        },
    )


def _samples(answers: Sequence[Mapping[str, Any]]) -> Samples:
    return Samples(
        wall=tuple(answer["wall"] for answer in answers),
        processor=tuple(answer["processor"] for answer in answers),
        decided=answers[-1]["decided"],
        tokens=answers[-1]["tokens"],
    )


def _memory(starts: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> Memory:
    def greatest(rows: Sequence[Mapping[str, Any]], name: str) -> float:
        return max(float(row["memory"].get(name, "nan")) for row in rows)

    return Memory(
        greatest(starts, "now"), greatest(answers, "peak"), greatest(answers, "anonymous")
    )
