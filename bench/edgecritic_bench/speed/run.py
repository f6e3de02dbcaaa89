"""Measures the cells of a plan that are not there yet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from time import perf_counter
from typing import Final, TypeAlias

from edgecritic_bench.speed.limits import machine, per_token
from edgecritic_bench.speed.plan import Cell, Kind, Options, cells
from edgecritic_bench.speed.process import Answer, Fleet
from edgecritic_bench.speed.rows import Rows
from edgecritic_bench.speed.tasks import TASKS

Measure: TypeAlias = Callable[[Options, Fleet, Cell], Iterator[Answer]]
_TASKS: Final[tuple[str, ...]] = TASKS
_EVERY: Final = 0.05  # seconds between looks at the GPU's memory
_RESPONSES: Final = 5
_RATES: Final = 5  # turns of ours and of the plain loop


def measure(options: Options, rows: Rows) -> Iterator[str]:
    """Run the bench; rows are written as they come.

    Yields:
        What goes on, a line each cell.
    """
    begun = perf_counter()
    left = [cell for cell in cells(options) if not rows.finished(cell.name)]
    for number, group in groupby(left, key=lambda cell: cell.round):

        def tell(engine: str, answer: Answer, number: int = number) -> None:
            rows.add(f"start/{number}", {"engine": engine, "vram": vram(), **answer})

        with Fleet(options.setup, tell) as fleet:
            for cell in group:
                if perf_counter() - begun > options.seconds:
                    yield f"{cell.name} and what follows is left for another run"
                    return
                yield _measured(options, rows, fleet, cell)


def _measured(options: Options, rows: Rows, fleet: Fleet, cell: Cell) -> str:
    started = perf_counter()
    rows.begin(cell.name)
    faults = []
    for row in KINDS[cell.kind](options, fleet, cell):
        rows.add(cell.name, row)
        faults += [f"{row.get('engine', '')}: {row['error']}"] if "error" in row else []
    took = perf_counter() - started
    rows.finish(cell.name, took)
    return f"{cell.name}: {took:.1f} s {'; '.join(faults)}".rstrip()


def _task(options: Options, fleet: Fleet, cell: Cell) -> Iterator[Answer]:
    """All engines take turns, A B C A B C; who begins changes from round to round."""
    shift = cell.round % len(options.engines)
    engines = options.engines[shift:] + options.engines[:shift]
    repeats, task = int(str(cell.values["repeats"])), str(cell.values["task"])
    for repeat in range(repeats):
        number = 1 + (cell.round * len(_TASKS) + _TASKS.index(task)) * 1000 + repeat
        for engine in engines:
            answer = fleet.do(
                engine,
                "task",
                task=task,
                size=cell.values["size"],
                number=number,
                count=options.count,
                few=options.few,
            )
            yield {"engine": engine, "number": number, **answer}


def _rates(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    """Ours, llama.cpp's own, and ours again: both neighbours of what it is compared with."""
    parts = options.parts
    lengths = list(parts.lengths)
    # The prompt around the text is read, too; a word is a token or more.
    measured = fleet.do("edgecritic", "rates", lengths=[1, 101], tokens=1)
    if "error" in measured:
        yield {"engine": "edgecritic", **measured}
        return
    frame, more = (one["prompt"] for one in measured["rates"])
    word = max(1.0, (more - frame) / 100)
    words = [max(1, round((length - frame) / word)) for length in lengths]
    for _repeat in range(_RATES):
        yield {
            "engine": "edgecritic",
            **fleet.do("edgecritic", "rates", lengths=words, tokens=parts.written),
        }
        yield {
            "engine": "plain",
            **fleet.do("plain", "plain", lengths=lengths, tokens=parts.written),
        }


def _rationales(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    for engine in options.ours:
        for _repeat in range(2):
            answer = fleet.do(
                engine,
                "rationales",
                count=options.parts.rationales,
                tokens=options.parts.written,
            )
            yield {"engine": engine, **answer}


def _determinism(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    for engine in ("edgecritic-deterministic", "edgecritic"):
        answer = fleet.do(engine, "determinism", rounds=options.parts.determinism, seed=7)
        yield {"engine": engine, **answer}


def _cancel(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    parts = options.parts
    answer = fleet.do(
        "edgecritic", "cancel", rounds=parts.cancelled, words=parts.long, delay=parts.delay
    )
    yield {"engine": "edgecritic", **answer}


def _growth(options: Options, fleet: Fleet, cell: Cell) -> Iterator[Answer]:
    for engine in options.ours:
        for repeat in range(2):
            answer = fleet.do(
                engine, "growth", **cell.values, number=(7 << 16) + repeat * 97 + hash_of(cell)
            )
            yield {"engine": engine, **answer}


def hash_of(cell: Cell) -> int:
    """A small number of the cell's own, the same in every run."""
    return sum(map(ord, cell.name)) % 89


def _fit(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    """What was estimated, what the driver saw at most, and what `close` gave back."""
    size = max(options.sizes)
    before = vram()
    with _watched() as peak:
        worker = fleet.alone("edgecritic")
        try:
            task = worker.do("task", task="pairs", size=size, number=1, count=1, few=1)
            worker.do("close")
            after = vram()
        finally:
            worker.close()
    yield {
        "engine": "edgecritic",
        "estimated": _estimated(options, size),
        "vram": {"before": before, "peak": max(peak), "closed": after, "ended": vram()},
        "memory": task.get("memory"),
    }


def _estimated(options: Options, size: tuple[int, int]) -> Answer:
    words = [
        *(sys.executable, "-m", "edgecritic", "models", "estimate", options.setup.folder),
        *("--image-size", f"{size[0]}x{size[1]}", "--responses", str(_RESPONSES)),
        *("--backend", "llamacpp", "--json"),
        *(["--gpu"] if options.setup.gpu else []),
        *(["--n-ctx", str(options.setup.n_ctx)] if options.setup.n_ctx else []),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip()[-300:]}
    found: Answer = json.loads(done.stdout)
    return found


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Samples of the GPU's memory while the block runs."""
    samples, ended = [vram()], threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            samples.append(vram())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def vram() -> float:
    """MiB that are taken of the first GPU that CUDA may use, by whomever; 0 without one."""
    if shutil.which("nvidia-smi") is None:
        return 0.0
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if first := os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]:
        asked.append(f"--id={first}")  # the driver's tool shows all of them
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def _limits(options: Options, fleet: Fleet, _: Cell) -> Iterator[Answer]:
    setup = options.setup
    yield {"token": per_token(setup.bundle()), "machine": machine(setup.gpu, setup.threads)}


KINDS: Final[Mapping[Kind, Measure]] = {
    "task": _task,
    "rates": _rates,
    "rationales": _rationales,
    "determinism": _determinism,
    "cancel": _cancel,
    "fit": _fit,
    "growth": _growth,
    "limits": _limits,
}
