"""A report: one tree of numbers, told as JSON, CSV, Markdown and one HTML file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecritic import InputError
from edgecritic_bench.numbers import write_json
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization.page.document import document
from edgecritic_bench.quantization.prediction import prediction
from edgecritic_bench.quantization.recommendation import recommend
from edgecritic_bench.quantization.results import JudgedArm, arm_results, judged_arms
from edgecritic_bench.quantization.rounding import contrasts
from edgecritic_bench.quantization.run import Run
from edgecritic_bench.quantization.samples import collect_reasons, disagreements, sample_dicts
from edgecritic_bench.quantization.tables import csv_table, markdown_page

KIND, SCHEMA = "edgecritic quantization report", 2
STEM = "report"


def build_report(run: Run, margin: float, provenance: Provenance, reasons: bool) -> dict[str, Any]:
    """Everything that a report tells, JSON-ready but for what is not finite.

    Args:
        run: whose arms have judged.
        margin: of claims of parity, as a share.
        provenance: of the run.
        reasons: ask the arms for reasons of the sample rows that have none yet.

    Raises:
        InputError: no row was judged by all arms.
    """
    arms = judged_arms(run)
    if not len(arms[0].pairs) + len(arms[0].scores):
        raise InputError(
            "no row of the sample was judged by all arms", "judge on: leave --report-now out"
        )
    results = arm_results(arms, run.rows.attacked, margin)
    found = disagreements(run, arms)
    explained = collect_reasons(run, found, ask=reasons)
    plain = [result.to_dict() for result in results]
    answer = recommend(plain, margin)
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "margin": margin,
        "made": _judged_where(arms, provenance).to_dict(),
        "sample": {**run.sample.to_dict(), "data": [Path(word).name for word in run.sample.data]},
        "rows": {
            "pairs": len(arms[0].pairs),
            "scores": len(arms[0].scores),
            "judged": len({**arms[0].judged, **arms[0].manipulated}),
            "planned": len(run.rows.all),
            "left": {name: count for name, count in run.left().items() if count},
            "refused": _refused(arms),
        },
        "recommendation": {"arm": answer.arm, "words": answer.words},
        "prediction": prediction(plain),
        "roundings": [contrast.to_dict() for contrast in contrasts(arms)],
        "arms": plain,
        "samples": sample_dicts(found, explained),
        "reasons": explained.to_dict(),
    }


def _judged_where(arms: Sequence[JudgedArm], here: Provenance) -> Provenance:
    """Machines, devices and versions by the arms' own notes: a report may be made elsewhere."""
    runs = [run for one in arms for run in one.meta.get("runs", ())]
    if not runs:
        return here
    devices: dict[str, set[str]] = {}
    for run in runs:
        devices.setdefault(run["machine"], set()).add(run["device"])
    told = [(machine, ", ".join(sorted(names - {"cpu"}))) for machine, names in devices.items()]
    return replace(
        here,
        machine="; ".join(
            f"{machine} with {names}" if names else machine for machine, names in told
        ),
        system="; ".join(dict.fromkeys(run["system"] for run in runs)),
        versions=tuple(
            sorted({(name, number) for run in runs for name, number in run["versions"]})
        ),
    )


def _refused(arms: Sequence[JudgedArm]) -> list[dict[str, Any]]:
    """Rows that an arm could not judge at all, who, and why; they count as unread."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in arms:
        for row in ({**one.judged, **one.manipulated}).values():
            if row.error:
                found.setdefault((row.row, row.error), []).append(one.arm.name)
    return [{"row": row, "why": why, "arms": names} for (row, why), names in found.items()]


def read_report(path: Path) -> dict[str, Any]:
    """The JSON form of a report.

    Raises:
        InputError: it is none.
    """
    hint = "name the report.json that edgecritic bench quantization has written"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint) from error
    if not isinstance(report, dict) or report.get("kind") != KIND:
        raise InputError(f"{path} is no report on quantizations", hint)
    if report.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {report.get('schema')!r}; this edgecritic reads {SCHEMA}",
            "write it again",
        )
    return report


def write_report(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write all four forms; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{STEM}.{end}" for end in ("json", "csv", "md", "html")]
    write_json(paths[0], report)
    texts = csv_table(report), markdown_page(report), document(report)
    for path, text in zip(paths[1:], texts, strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    return paths
