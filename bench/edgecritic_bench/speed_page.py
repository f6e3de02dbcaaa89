"""``docs/benchmarks.md``: the speed bench's result as a page."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from edgecritic_bench.markdown import table, template
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.speed import (
    ENGINES,
    EngineName,
    SpeedOptions,
    SpeedResult,
    Task,
    ratio,
    scaled,
)
from edgecritic_bench.speed_tasks import ORDERED_PAIRS, default_picture
from edgecritic_bench.speed_worker import HANDLER_PAIRS

_TITLES: dict[Task, str] = {
    "verdict": "One verdict on a new picture",
    "cached": "A second verdict on the same picture",
    "compare": "Two responses in both orders, new picture",
    "rank": f"Five responses, all {len(ORDERED_PAIRS)} ordered pairs, new picture",
}


def speed_page(
    result: SpeedResult, options: SpeedOptions, critic: str, provenance: Provenance
) -> str:
    """The whole page.

    Args:
        result: of the run.
        options: of the run.
        critic: name of the bundle.
        provenance: machine, versions, date, command.
    """
    verdict = {engine: result.samples[engine, "verdict"].tokens for engine in ENGINES}
    return Template(template("benchmarks.md")).substitute(
        critic=critic,
        picture=_picture(options.image),
        threads=options.threads,
        rounds=options.rounds,
        repeats=options.repeats,
        measured_pairs=HANDLER_PAIRS,
        pairs=len(ORDERED_PAIRS),
        times=_times(result),
        memory=_memory(result),
        image_tokens=verdict["edgecritic"].get("image", "?"),
        prompt_tokens=verdict["edgecritic"].get("prompt", "?"),
        handler_tokens=verdict["handler"].get("prompt", "?"),
        generated=verdict["handler"].get("generated", "?"),
        machine=provenance.machine,
        system=provenance.system,
        versions=provenance.versions_text,
        date=provenance.date,
        command=provenance.command,
    )


def _picture(image: str) -> str:
    if image == "default":
        return "a drawn picture of {} x {} pixels".format(*default_picture().size)
    return f"the picture `{Path(image).name}`"


def _times(result: SpeedResult) -> str:
    tasks = [task for task in _TITLES if (ENGINES[0], task) in result.samples]
    rows = []
    for task in tasks:
        walls = [_seconds(result, engine, task) for engine in ENGINES]
        by_wall, by_processor = ratio(result, task), ratio(result, task, "processor")
        rows.append(
            [
                _TITLES[task],
                *walls,
                f"**{by_wall.median:.2f}** ({by_wall.low:.2f}-{by_wall.high:.2f})",
                f"{by_processor.median:.2f} ({by_processor.low:.2f}-{by_processor.high:.2f})",
            ]
        )
    heads = ["", "edgecritic", "handler", "ratio", "ratio of processor time"]
    return table(heads, rows)


def _seconds(result: SpeedResult, engine: EngineName, task: Task) -> str:
    found = result.samples[engine, task]
    wall, processor = (
        scaled(task, engine, float(np.median(values))) for values in (found.wall, found.processor)
    )
    about = "about " if scaled(task, engine, 1.0) != 1 else ""
    return f"{about}{wall:.2f} s ({processor:.2f} s of processor time)"


def _memory(result: SpeedResult) -> str:
    rows = [
        [
            engine,
            f"{result.load_seconds[engine]:.2f} s",
            *(_mebibytes(value) for value in (memory.loaded, memory.peak, memory.anonymous)),
        ]
        for engine, memory in ((engine, result.memory[engine]) for engine in ENGINES)
    ]
    heads = ["", "loading", "memory after it", "peak", "of which not mapped from files"]
    return table(heads, rows)


def _mebibytes(value: float) -> str:
    return "unknown here" if np.isnan(value) else f"{value:.0f} MiB"


def speed_json(
    result: SpeedResult, options: SpeedOptions, provenance: Provenance
) -> dict[str, Any]:
    """All samples, JSON-ready."""
    return {
        "run": provenance.to_dict(),
        "threads": options.threads,
        "samples": [
            {
                "engine": engine,
                "task": task,
                "wall": list(found.wall),
                "processor": list(found.processor),
                "decided": found.decided,
                "tokens": dict(found.tokens),
            }
            for (engine, task), found in result.samples.items()
        ],
        "ratios": {
            task: ratio(result, task).median
            for task in _TITLES
            if (ENGINES[0], task) in result.samples
        },
    }
