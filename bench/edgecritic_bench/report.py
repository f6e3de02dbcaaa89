"""``docs/embedded-critic.md`` from records: framing text from a template, numbers from records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from edgecritic import InputError
from edgecritic_bench import plots, report_tables
from edgecritic_bench.agreement import Agreement, agreement, by_kind
from edgecritic_bench.calibration import Calibration, file_digest
from edgecritic_bench.judge import read_meta
from edgecritic_bench.markdown import table, template
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import Record, read_records
from edgecritic_bench.statistics.intervals import RESAMPLES
from edgecritic_bench.statistics.reliability import N_BINS
from edgecritic_bench.targets import TARGETS, measured

MAIN_SPLITS = ("T0", "T1")
"""The splits that have targets, and tables of their question types."""
SPLIT_TEXTS = {
    "T0": "T0: new seeds",
    "T1": "T1: unseen pictures and styles",
    "T2": "T2: unseen things and values",
    "T3": "T3: unseen domain",
    "T4": "T4: unseen questions and wordings",
}

WHY_ENGINES_DIFFER = """\
Engines differ because llama.cpp rounds activations to 8 bits before it multiplies them with
quantized weights; [experiments](experiments.md#where-llamacpp-and-torch-differ) takes the
differences apart."""
"""Stands below the section on engines, where there is one."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is made of.

    Attributes:
        records: files of one engine.
        calibration: fitted on none of them.
        judged_by: critic and engine in words; empty to take them from beside the records.
        images: folder of the plots, made if need be.
        page: where the page will be; links to the plots start there.
        parity: finished Markdown that compares engines, or empty.
        against: finished Markdown that compares with an earlier version, or empty.
    """

    records: tuple[Path, ...]
    calibration: Calibration
    judged_by: str
    images: Path
    page: Path
    parity: str = ""
    against: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report: the page and the short table for a README."""

    page: str
    readme: str


def build_report(options: ReportOptions, run: Provenance) -> Report:
    """Compute everything, draw the plots, and fill in the page.

    Raises:
        InputError: records are missing or damaged, or the calibration was fitted on them.
        MissingExtraError: matplotlib is not installed.
    """
    digests = {path: file_digest(path) for path in options.records}
    for path, digest in digests.items():
        if digest in options.calibration.fitted_on:
            raise InputError(
                f"the calibration was fitted on {path}, which is reported here",
                "fit it on judgements of another evaluation set",
            )
    records = read_records(options.records)
    splits = _by_split(records, options.calibration)
    main = {split: splits[split] for split in MAIN_SPLITS if split in splits}
    kinds = {
        split: by_kind([r for r in records if r.place.split == split], options.calibration)
        for split in main
    }
    links = _draw(options, main, kinds)
    targets = [(target, measured(target, records, options.calibration)) for target in TARGETS]
    calibration = options.calibration
    temperature = calibration.pointwise_temperature
    page = Template(template("embedded-critic.md")).substitute(
        judged_by=options.judged_by or _judged_by(options.records),
        targets=report_tables.target_table(targets),
        sizes=report_tables.size_table(splits),
        pairwise=report_tables.split_table(report_tables.PAIRWISE, splits),
        controls=report_tables.split_table(report_tables.CONTROLS, splits),
        pointwise=report_tables.split_table(report_tables.POINTWISE, splits),
        families=report_tables.family_table(main, temperature),
        calibration=report_tables.calibration_table(splits),
        kinds="\n\n".join(
            f"### {SPLIT_TEXTS[split]}\n\n{report_tables.kind_table(found)}"
            for split, found in kinds.items()
        ),
        pairwise_temperature=f"{calibration.pairwise_temperature:.3f}",
        pointwise_temperature=f"{temperature:.3f}",
        tie_margin=f"{calibration.tie_margin:.3f}",
        pairwise_rows=f"{calibration.pairwise_rows:,}",
        pointwise_rows=f"{calibration.pointwise_rows:,}",
        resamples=f"{RESAMPLES:,}",
        bins=N_BINS,
        parity=options.parity and f"{options.parity}\n\n{WHY_ENGINES_DIFFER}",
        against=options.against,
        files=_file_table(digests),
        machine=run.machine,
        system=run.system,
        versions=run.versions_text,
        date=run.date,
        command=run.command,
        **links,
    )
    # An empty section leaves a gap of blank lines behind.
    page = re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"
    return Report(page, report_tables.readme_table(splits, SPLIT_TEXTS) + "\n")


def _by_split(records: Sequence[Record], calibration: Calibration) -> dict[str, Agreement]:
    names = sorted({record.place.split for record in records})
    return {
        name: agreement([r for r in records if r.place.split == name], calibration)
        for name in names
    }


def _draw(
    options: ReportOptions,
    main: Mapping[str, Agreement],
    kinds: Mapping[str, Mapping[str, Agreement]],
) -> dict[str, str]:
    """Draw the plots and return their links, by placeholder."""
    if not main:
        raise InputError(
            f"there are no records of {' or '.join(MAIN_SPLITS)}",
            "a report needs the splits that have targets",
        )
    options.images.mkdir(parents=True, exist_ok=True)
    files = {
        name: options.images / f"embedded-critic-{name.removesuffix('_plot')}.png"
        for name in ("reliability_plot", "kinds_plot", "families_plot")
    }
    plots.plot_reliability(main, files["reliability_plot"])
    plots.plot_kinds(kinds, files["kinds_plot"])
    plots.plot_families(main, options.calibration.pointwise_temperature, files["families_plot"])
    start = options.page.parent.resolve()
    return {
        name: Path(os.path.relpath(path.resolve(), start)).as_posix()
        for name, path in files.items()
    }


def _judged_by(records: Sequence[Path]) -> str:
    told = []
    for path in records:
        meta = read_meta(path)
        if meta is not None:
            told.append(f"{meta['critic']}, run by {meta['engine']}")
    return "; ".join(dict.fromkeys(told)) or "an engine that left no note beside its records"


def _file_table(digests: Mapping[Path, str]) -> str:
    rows = []
    for path, digest in digests.items():
        meta = read_meta(path)
        run = Provenance.from_dict(meta) if meta else None
        rows.append(
            [
                f"`{path.name}`",
                f"`{digest[:12]}`",
                "-" if run is None else f"{run.date}, {run.machine}, {run.versions_text}",
                "-" if run is None else f"`{run.command}`",
            ]
        )
    return table(["records", "sha256", "judged", "command"], rows)
