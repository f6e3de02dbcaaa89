"""The page: every number from the records, targets judged fairly, plots that are pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic import InputError
from edgecritic_bench import calibration, cli
from edgecritic_bench.records import write_records
from edgecritic_bench.statistics.intervals import NOTHING, Estimate
from edgecritic_bench.targets import OBJECT_KINDS, TARGETS, Target, measured


@pytest.fixture
def files(tmp_path: Path, simulate, skill) -> dict[str, Path]:
    made = {}
    for name, split, seed, n in (("T0", "T0", 1, 30), ("T1", "T1", 2, 30), ("fit", "T0", 3, 30)):
        made[name] = tmp_path / f"{name}.jsonl"
        write_records(made[name], simulate(n, split=split, seed=seed, skill=skill(0.8)))
    return made


def report(files: dict[str, Path], *more: str) -> tuple[int, str]:
    folder = files["T0"].parent
    fitted = folder / "calibration.json"
    assert cli.main(["calibrate", str(files["fit"]), "--out", str(fitted)]) == 0
    page = folder / "docs" / "page.md"
    status = cli.main(
        [
            *("report", str(files["T0"]), str(files["T1"]), "--calibration", str(fitted)),
            *("--out", str(page), "--plots", str(folder / "docs" / "images"), *more),
        ]
    )
    return status, page.read_text()


def test_the_page_is_whole(files, capsys):
    status, page = report(files, "--judged-by", "a simulated critic")
    assert status == 0
    assert "a simulated critic" in page
    assert not re.search(r"\$\w|nan|None|inf\b", page)
    assert "\n\n\n" not in page
    for link in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page):
        with Image.open(files["T0"].parent / "docs" / link) as plot:
            assert plot.width > 800
            pixels = np.asarray(plot.convert("L"))
            assert 0.5 < (pixels > 250).mean() < 0.99
    # All rows of a table have as many cells as its head.
    for block in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        assert len({line.count(" | ") for line in block.splitlines()}) == 1, block
    summary = capsys.readouterr().out
    assert "| T1: unseen pictures and styles |" in summary
    assert str(files["T0"].parent) not in page
    assert "Engines differ" not in page  # none were compared


def test_a_comparison_with_an_earlier_version_goes_into_the_page(files, tmp_path):
    against = tmp_path / "versions.md"
    against.write_text("## Version 2 against Version 1\n\nFewer flips.\n")
    status, page = report(files, "--against", str(against))
    assert status == 0
    assert "\n\n## Version 2 against Version 1\n\nFewer flips.\n\n## How the intervals" in page


def test_why_engines_differ_is_told_where_they_are_compared(files, tmp_path):
    parity = tmp_path / "parity.md"
    parity.write_text("## The same rows in another engine\n\nNo flips.\n")
    _, page = report(files, "--parity", str(parity))
    assert "\n\n## The same rows in another engine\n\nNo flips.\n\nEngines differ because" in page
    assert "differences apart.\n\n## How the intervals" in page


def test_a_calibration_that_saw_the_test_rows_is_refused(files):
    files["fit"] = files["T0"]
    with pytest.raises(InputError, match="calibration was fitted on"):
        report(files)


def test_a_report_needs_a_split_with_targets(files, simulate):
    for name in ("T0", "T1"):
        write_records(files[name], simulate(8, split="T3", seed=len(name)))
    files["T1"].write_text("")
    with pytest.raises(InputError, match="no records of T0 or T1"):
        report(files)


def test_missing_settings_leave_dashes_not_numbers(files):
    for name in ("T0", "T1"):
        lines = files[name].read_text().splitlines(keepends=True)
        files[name].write_text("".join(line for line in lines if '"pairwise"' not in line))
    _, page = report(files)
    assert "not measured" in page
    assert "nan" not in page


@pytest.mark.parametrize(
    ("value", "low", "high", "standing"),
    [
        (0.96, 0.95, 0.97, "met"),
        (0.95, 0.93, 0.97, "met, but the interval reaches beyond"),
        (0.93, 0.91, 0.95, "missed, but the interval reaches it"),
        (0.90, 0.88, 0.92, "missed"),
    ],
)
def test_a_target_is_judged_with_its_interval(value, low, high, standing):
    target = Target("Pairs", "T0", "pairs", 0.94, 1.0)
    assert target.standing(Estimate(value, low, high, 100, 50)) == standing


def test_targets_are_those_that_were_set():
    wanted = {(t.split, t.metric, t.kinds): t.wanted for t in TARGETS}
    assert wanted["T0", "pairs", ()] == "at least 94%"
    assert wanted["T1", "pairs", ()] == "at least 85%"
    assert wanted["T1", "pairs", OBJECT_KINDS] == "at least 78%"
    assert wanted["T0", "blank", ()] == "45% to 55%"
    assert wanted["T0", "right_beats_wrong", ()] == "at least 90%"
    assert wanted["T1", "right_beats_wrong", ()] == "at least 82%"
    assert wanted["T0", "consistent", ()] == "at least 90%"
    assert wanted["T0", "pair_ece", ()] == "at most 0.05"
    assert Target("x", "T0", "pairs", 0.9, 1.0).standing(NOTHING) == "not measured"


def test_a_target_counts_its_own_rows(simulate):
    records = simulate(20) + simulate(20, split="T1", kinds=("digit", "object"))
    none = calibration.Calibration()
    objects = next(t for t in TARGETS if t.kinds == ("object",))
    assert measured(objects, records, none).n_items == 10
    assert measured(TARGETS[0], records, none).n_items == 20
