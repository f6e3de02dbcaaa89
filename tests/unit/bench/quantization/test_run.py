"""Whole runs in real processes: tiny critics of random weights, stopped, gone on with, reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgecritic import Bundle, CriticError
from edgecritic_bench import cli
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization import run
from edgecritic_bench.quantization.arms import plan_arms, read_arms, write_arms
from edgecritic_bench.quantization.journal import read_journal, row_digest
from edgecritic_bench.quantization.progress import Progress, duration
from edgecritic_bench.quantization.report import read_report
from edgecritic_bench.quantization.rows import Sample, prepare_rows
from edgecritic_bench.quantization.run import Run, RunOptions
from edgecritic_bench.quantization.worker import ArmFiles
from simulated_ladder import write_rows
from tiny_checkpoints import write_llava_onevision
from tiny_engines import write_gguf_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    write_llava_onevision(folder / "checkpoint")
    return {
        name: write_gguf_bundle(folder / "checkpoint", folder / name, name)
        for name in ("F32", "F16")
    }


def test_a_run_goes_on_where_it_was_stopped(bundles, tmp_path, capsys):
    data = write_rows(tmp_path / "data", 3)
    out = tmp_path / "run"
    words = [
        "quantization",
        "--bundles",
        *(f"{name}={bundle.folder}" for name, bundle in bundles.items()),
        *("--data", str(data), "--pairs", "6", "--scores", "4", "--attacks", "0"),
        *("--out", str(out), "--jobs", "3", "--threads", "1", "--device", "cpu"),
    ]
    left = r"time is up with 30 of 30 judgements left \(F32: 10, re-run: 10, F16: 10\)"
    with pytest.raises(CriticError, match=left) as caught:
        cli.main([*words, "--minutes", "0"])
    assert "same command again" in caught.value.hint
    with pytest.raises(CriticError, match="no row"):
        cli.main([*words, "--report-now"])
    assert cli.main(words) == 0
    told = capsys.readouterr()
    assert "100%: 30 of 30 judgements, 3 of 3 arms done" in told.err
    report = read_report(out / "report.json")
    counted = {"pairs": 6, "scores": 4, "judged": 10, "planned": 10}
    assert report["rows"] == {**counted, "left": {}, "refused": []}
    # The machine is where the arms judged, by their own notes.
    assert report["made"]["machine"] == Provenance.here([]).machine
    assert str(tmp_path) not in report["made"]["command"]
    assert told.out.strip() == report["recommendation"]["words"]
    assert {path.name for path in out.glob("report.*")} == {
        "report.json",
        "report.csv",
        "report.md",
        "report.html",
    }
    # A report is passed on: only its command says where bundles lay.
    assert not any("folder" in one["arm"] for one in report["arms"])
    reference, rerun, other = report["arms"]
    assert reference["cost"]["peak_bytes"] > 10e6
    assert reference["cost"]["cpu"] > 0
    # Weights drawn by chance state no verdict: that is told, and nothing is made of it.
    for one in (reference, rerun, other):
        assert one["pairs"]["unread"] == 6
        assert one["pairs"]["metrics"]["accuracy with ties"]["value"] == 0
        assert one["scores"] is None
    assert report["recommendation"]["arm"] == ""

    # A kill leaves half a line: only that row and what was lost behind it are judged again.
    arm = read_arms(out / "arms.json")[2]
    files = ArmFiles.of(out, arm)
    lines = files.journal.read_text().splitlines(keepends=True)
    files.journal.write_text("".join(lines[:7]) + lines[7][:30])
    before = read_journal(files.journal)
    assert cli.main(words) == 0
    after = read_journal(files.journal)
    assert len(after) == 10
    assert files.journal.read_text().count("\n") == 10
    assert {key: after[key] for key in before} == before

    # Judgements of another bundle are not added to these.
    files.meta.write_text(json.dumps({"made_by": {"files": "others"}}))
    files.journal.write_text("".join(lines[:2]))
    with pytest.raises(CriticError, match="another bundle"):
        cli.main(words)


def test_arms_are_shared_out_and_chosen(bundles, tmp_path, capsys, monkeypatch):
    data = write_rows(tmp_path / "data", 4)
    out = tmp_path / "run"
    words = [
        "quantization",
        "--bundles",
        *(f"{name}={bundle.folder}" for name, bundle in bundles.items()),
        *("--data", str(data), "--pairs", "8", "--scores", "0", "--attacks", "1"),
        *("--attack-arms", "F16", "--parts", "2", "--jobs", "4", "--threads", "1"),
        *("--out", str(out), "--device", "cpu"),
    ]
    begun: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(run, "drive", lambda jobs, *_: begun.extend(job.arm for job in jobs) or {})
        with pytest.raises(CriticError, match="judgements left"):
            cli.main([*words, "--arms", "F16", "*"])
    assert begun == ["F16", "F16", "F32", "F32", "re-run", "re-run"]
    with pytest.raises(CriticError, match="'Q4' names no arm") as caught:
        cli.main([*words, "--arms", "re*", "Q4"])
    assert "F32, re-run, F16" in caught.value.hint
    assert cli.main([*words, "--arms", "F*"]) == 0
    told = capsys.readouterr()
    assert "leave --arms out" in told.err
    assert not (out / "report.json").exists()
    # What some arms have judged can be reported before the others have begun.
    assert cli.main([*words, "--report-now", "--arms", "F16", "--no-reasons"]) == 0
    early = read_report(out / "report.json")
    assert [one["arm"]["name"] for one in early["arms"]] == ["F32", "F16"]
    assert early["rows"]["pairs"] == 8
    with pytest.raises(CriticError, match="no row of the sample"):
        cli.main([*words, "--report-now"])
    capsys.readouterr()
    assert not told.out
    assert cli.main(words) == 0
    arms = read_arms(out / "arms.json")
    assert [arm.name for arm in arms] == ["F32", "re-run", "F16"]
    for arm in arms:
        files = ArmFiles.of(out, arm)
        parts = [read_journal(files.part(number)) for number in (0, 1)]
        assert all(parts)
        # Nothing is judged twice, and rows of a picture stay together.
        assert not parts[0].keys() & parts[1].keys()
        assert files.judged() == parts[0] | parts[1]
        pictures = [{one.row.partition("-")[0] for one in part.values()} for part in parts]
        assert arm.name != "re-run" or not pictures[0] & pictures[1]
    report = read_report(out / "report.json")
    assert report["rows"]["pairs"] == 8
    assert [bool(one["robustness"]) for one in report["arms"]] == [True, False, True]


def test_arms_explain_the_rows_that_they_are_asked_for(bundles, tmp_path):
    data = write_rows(tmp_path / "data", 3)
    arms = plan_arms(
        [f"{name}={bundle.folder}" for name, bundle in bundles.items()], None, tmp_path
    )
    sample = Sample((str(data),), pairs=4, scores=4, attacks=1)
    rows = prepare_rows(sample, tmp_path)
    write_arms(tmp_path / "arms.json", arms)
    options = RunOptions(jobs=2, threads=1, device="cpu")
    ladder = Run(tmp_path, arms, sample, rows, options)
    # One of them is also the clean side of a manipulated pair, under another name.
    clean = {row_digest(row) for row in rows.attacked}
    asked = [row_digest(row) for row in rows.sample]
    assert set(asked) & clean
    wanted = {"F32": asked, "F16": asked[:1]}
    late = replace(ladder, options=replace(options, reason_seconds=0.0))
    assert late.explain(wanted) == {}
    files = {
        name: ArmFiles.of(tmp_path, next(a for a in arms if a.name == name)) for name in wanted
    }
    assert not any(one.reasons.exists() for one in files.values())
    # What a killed process left behind its last line is no reason, and is written anew.
    files["F32"].reasons.parent.mkdir(exist_ok=True)
    files["F32"].reasons.write_text('{"digest": "torn')
    assert ladder.explain(wanted) == {}
    told = {
        name: [json.loads(line)["digest"] for line in one.reasons.read_text().splitlines()]
        for name, one in files.items()
    }
    assert {name: sorted(found) for name, found in told.items()} == {
        name: sorted(digests) for name, digests in wanted.items()
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--jobs", "0"),
        ("--parts", "0"),
        ("--pairs", "-1"),
        ("--per-item", "0"),
        ("--attacks", "-3"),
        ("--minutes", "-1"),
        ("--threads", "-2"),
        ("--margin", "nan"),
        ("--reason-minutes", "-1"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(
            ["quantization", "--bundles", "b", "--data", "d", "--out", str(tmp_path / "o"), *words]
        )
    assert caught.value.code == 2
    assert f"argument {words[0]}: invalid" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    words = ["quantization", "--bundles", "b", "--data", "d", "--out", str(tmp_path / "file")]
    with pytest.raises(CriticError, match="file cannot be made"):
        cli.main(words)


def test_an_arm_that_fails_is_named_and_stops_no_other(bundles, tmp_path):
    data = write_rows(tmp_path / "data", 2)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in Path(bundles["F16"].folder).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / bundles["F16"].manifest.having("language_model")[0].path).write_bytes(b"no model")
    out = tmp_path / "run"
    words = [
        *("quantization", "--bundles", f"good={bundles['F32'].folder}", f"bad={broken}"),
        *("--data", str(data), "--pairs", "2", "--scores", "0", "--attacks", "0"),
        *("--out", str(out), "--jobs", "2", "--threads", "1", "--device", "cpu"),
    ]
    with pytest.raises(CriticError, match="1 of 3 arms failed; bad:") as caught:
        cli.main(words)
    assert "is kept" in caught.value.hint
    arms = {arm.name: ArmFiles.of(out, arm).journal for arm in read_arms(out / "arms.json")}
    assert [len(read_journal(path)) for path in arms.values()] == [2, 2, 0]


def test_progress_tells_when_it_will_be_done():
    progress = Progress.begin({"a": 10, "b": 6}, {"a": 10, "b": 10})
    assert "left" not in str(progress)
    progress.add("b", 6).started -= 60
    assert str(progress).startswith("50%: 10 of 20 judgements, 1 of 2 arms done, 2 min ")
    assert [duration(s) for s in (45, 720, 11100)] == ["45 s", "12 min", "3 h 05 min"]
