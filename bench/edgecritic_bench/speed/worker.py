"""One engine in a process of its own, which does what lines of JSON on its stdin ask for.

Run by `edgecritic_bench.speed.process`. What a job raises is answered, and the next one served.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from edgecritic_bench.speed import jobs
from edgecritic_bench.speed.engines import ENGINES, Engine, Setup
from edgecritic_bench.speed.tasks import PAIRS, RESPONSES, default_picture, new_picture, unrelated

Answer = dict[str, Any]


def act(
    engine: Engine, task: str, number: int, size: tuple[int, int], *, count: int, few: int
) -> Answer:
    """Do one task and time it.

    Args:
        engine: that does it.
        task: ``again`` judges another response to a picture that was just judged.
        number: of the repetition; another number, other pictures.
        size: of the pictures.
        count: how many unrelated verdicts.
        few: of how many requests an engine is timed that does each by itself.
    """
    base = default_picture(size)
    picture = new_picture(base, number)
    most = few if engine.alone else None
    responses, pairs = RESPONSES[:most], PAIRS[:most]
    others = unrelated(base, number, count)[:most] if task == "unrelated" else []
    if task == "again":
        engine.scores(picture, RESPONSES[:1])
    works: Mapping[str, tuple[int, Callable[[], list[str]]]] = {
        "verdict": (1, lambda: engine.scores(picture, RESPONSES[:1])),
        "again": (1, lambda: engine.scores(picture, RESPONSES[1:2])),
        "scores": (len(RESPONSES), lambda: engine.scores(picture, responses)),
        "pairs": (len(PAIRS), lambda: engine.pairs(picture, pairs)),
        "unrelated": (count, lambda: engine.unrelated(others)),
    }
    asked, work = works[task]
    wall, processor = perf_counter(), process_time()
    decided = work()
    return {
        "wall": perf_counter() - wall,
        "processor": process_time() - processor,
        "decided": decided,
        "asked": asked,
        "tokens": engine.tokens,
        "memory": memory_mib(),
    }


def memory_mib() -> dict[str, float]:
    """Resident memory of this process in MiB: now, its peak, and the part that is no file.

    Only Linux tells all three; elsewhere nothing is reported.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    lines = (line.split() for line in status.read_text(encoding="utf-8").splitlines())
    found = {words[0]: words[1] for words in lines if len(words) == 3 and words[2] == "kB"}
    names = {"now": "VmRSS:", "peak": "VmHWM:", "anonymous": "RssAnon:"}
    return {name: int(found[key]) / 1024 for name, key in names.items() if key in found}


JOBS: Final[Mapping[str, Callable[..., Answer]]] = {"task": act, **jobs.JOBS}


def main() -> int:
    """Load the engine that the arguments name, then serve stdin until it ends."""
    name, setup = sys.argv[1], Setup(**json.loads(sys.argv[2]))
    # Libraries write to stdout, too: answers go where they do not reach.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    started = perf_counter()
    engine = ENGINES[name](setup)
    say({"loaded": perf_counter() - started, "memory": memory_mib()})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            say(JOBS[asked.pop("job")](engine, **asked))
        except Exception as error:  # the parent notes it and goes on
            say({"error": f"{type(error).__name__}: {error}"[:500]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
