"""A run's page: seconds side by side, rates beside limits, growth, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from edgecritic_bench.markdown import table, template
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.speed.figures import Samples
from edgecritic_bench.speed.page_parts import cancel, determinism, fit, rates, rationales
from edgecritic_bench.speed.plan import Options
from edgecritic_bench.speed.plots import plot_growth
from edgecritic_bench.speed.rows import Rows
from edgecritic_bench.speed.tasks import PAIRS, RESPONSES, Size, Task

ENGINE_NAMES: Final = {
    "edgecritic": "edgecritic on llama.cpp",
    "edgecritic-onnx": "edgecritic on ONNX Runtime",
    "handler": "`Llava15ChatHandler`",
    "server": "server, 4 slots",
    "server-1": "server, 1 slot",
    "generate": "transformers, float32",
    "generate-bf16": "transformers, bf16",
    "generate-nf4": "transformers, NF4",
}


def write_page(rows: Rows, options: Options, page: Path, plots: Path) -> None:
    """Write a page and its picture from whatever cells are there.

    Args:
        rows: of a run.
        options: it was run with.
        page: Markdown.
        plots: folder of the picture.
    """
    picture = plots / f"{page.stem}-growth.png"
    drawn = plot_growth(rows, options.ours, picture)
    provenance = Provenance.from_dict(rows.of("run")[-1]["provenance"])
    bundle = options.setup.bundle().name if not options.setup.gpu else ""
    text = Template(template("benchmarks-gpu.md" if options.setup.gpu else "benchmarks.md"))
    page.parent.mkdir(parents=True, exist_ok=True)
    said = text.substitute(
        critic=bundle,
        pairs=len(PAIRS),
        responses=len(RESPONSES),
        threads=options.setup.threads,
        rounds=options.rounds,
        repeats=options.repeats,
        count=options.count,
        few=options.few,
        tasks="\n\n".join(_tasks(rows, options)),
        answers=_answers(rows, options),
        memory=_memory(rows, options),
        rates=rates(rows),
        rationales=rationales(rows, ENGINE_NAMES),
        growth=f"![how cost grows]({_relative(picture, page)})" if drawn else "Not measured.",
        determinism=determinism(rows),
        cancel=cancel(rows),
        fit=fit(rows),
        missing=_missing(rows),
        machine=", ".join([provenance.machine, *_cards(rows)]),
        system=provenance.system,
        versions=provenance.versions_text,
        date=provenance.date,
        command=provenance.command,
        **_tokens(rows, options),
    )
    page.write_text(said, encoding="utf-8", newline="\n")


def _relative(picture: Path, page: Path) -> str:
    folder = page.parent.resolve()
    there = picture.resolve()
    return str(there.relative_to(folder) if there.is_relative_to(folder) else there.name)


def _titles(options: Options) -> dict[Task, str]:
    return {
        "verdict": "one verdict, new picture",
        "again": "another response, same picture",
        "scores": f"{len(RESPONSES)} scores, new picture",
        "pairs": f"{len(PAIRS)} ordered pairs, new picture",
        "unrelated": f"{options.count} unrelated verdicts",
    }


def _all(rows: Rows, options: Options) -> Iterator[tuple[Size, Task, Samples]]:
    for size in options.sizes:
        for task in options.tasks:
            found = Samples(rows, task, size)
            if found.engines:
                yield size, task, found


def _tasks(rows: Rows, options: Options) -> Iterator[str]:
    """For each size a table of seconds and one of ratios for each engine of ours."""
    titles, measured = _titles(options), list(_all(rows, options))
    engines = [e for e in options.engines if any(e in s.engines for _, _, s in measured)]
    heads = [ENGINE_NAMES[engine] for engine in engines]
    for size in options.sizes:
        here = [(task, found) for at, task, found in measured if at == size]
        lines = [[titles[t], *(_seconds(found, e) for e in engines)] for t, found in here]
        yield f"Seconds, pictures of {size[0]} x {size[1]} pixels:"
        yield table(["", *heads], lines)
        for ours in (e for e in options.ours if e in engines):
            others = [e for e in engines if e != ours]
            yield f"How many times as long as {ENGINE_NAMES[ours]}:"
            yield table(
                ["", *(ENGINE_NAMES[e] for e in others)],
                [[titles[t], *(_ratio(found, e, ours) for e in others)] for t, found in here],
            )


def _seconds(found: Samples, engine: str) -> str:
    if engine not in found.engines:
        return "-"
    about = "about " if found.is_part(engine) else ""
    return f"{about}{found.seconds(engine):.2f}"


def _ratio(found: Samples, engine: str, ours: str) -> str:
    if engine not in found.engines or ours not in found.engines:
        return "-"
    return str(found.ratio(engine, ours))


def _answers(rows: Rows, options: Options) -> str:
    """How often each engine's answers are those of our first one."""
    (ours, *_) = options.ours or ("",)
    counts: dict[str, list[int]] = {}
    for _, _, found in _all(rows, options):
        for engine in found.engines:
            if ours in found.engines and engine != ours:
                same, of = found.agreed(engine, ours)
                sums = counts.setdefault(engine, [0, 0])
                sums[0], sums[1] = sums[0] + same, sums[1] + of
    lines = [[ENGINE_NAMES[e], f"{same} of {of}"] for e, (same, of) in counts.items()]
    return table(["", f"same answers as {ENGINE_NAMES.get(ours, ours)}"], lines)


def _memory(rows: Rows, options: Options) -> str:
    starts: dict[str, dict[str, Any]] = {}
    for _, row in rows.under("start/"):
        if "start" in row:
            starts.setdefault(row["engine"], row)
    measured = [found for _, _, found in _all(rows, options)]
    lines = []
    for engine in options.engines:
        seen = [found for found in measured if engine in found.engines]
        if engine in starts and seen:
            start = starts[engine]["start"]
            numbers = [start["memory"].get("now", float("nan"))]
            numbers += [max(f.memory(engine, name) for f in seen) for name in ("peak", "anonymous")]
            cells = [f"{start['loaded']:.2f} s", *(_mebibytes(number) for number in numbers)]
            lines.append([ENGINE_NAMES[engine], *cells])
    heads = ["", "loading", "memory after it", "peak", "of which not mapped from files"]
    return table(heads, lines)


def _mebibytes(value: float) -> str:
    return "unknown here" if math.isnan(value) else f"{value:.0f} MiB"


def _cards(rows: Rows) -> Sequence[str]:
    return [d for row in rows.of("limits") if (d := row["machine"]["device"]) != "cpu"]


def _missing(rows: Rows) -> str:
    """Engines that could not do something, and why."""
    said: dict[str, str] = {}
    for cell, row in rows.under(""):
        if "error" in row and row.get("engine"):
            said.setdefault(row["engine"], f"{cell}: {row['error']}")
    lines = [f"- {ENGINE_NAMES.get(e, e)}: {why}" for e, why in said.items()]
    lines = lines or ["Every engine did all that was asked of it."]
    return "\n".join([*lines, *_notes(rows)])


def _notes(rows: Rows) -> Sequence[str]:
    """What somebody wrote by hand into the file of rows about a run, as rows of a cell `notes`."""
    said = [f"- {row['text']}" for row in rows.of("notes")]
    return ["", "Of this run in particular:", "", *said] if said else []


def _tokens(rows: Rows, options: Options) -> dict[str, object]:
    found = Samples(rows, "verdict", options.sizes[0])

    def of(engine: str, name: str) -> object:
        return found.tokens(engine).get(name, "?") if engine in found.engines else "?"

    return {
        "image_tokens": of("edgecritic", "image"),
        "prompt_tokens": of("edgecritic", "prompt"),
        "handler_tokens": of("handler", "prompt"),
        "generated": of("handler", "generated"),
    }
