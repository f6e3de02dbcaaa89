"""What a report says of itself: what is left, what was refused, where it was made, and reasons."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization import run as running
from edgecritic_bench.quantization.arms import read_arms, write_arms
from edgecritic_bench.quantization.journal import append, row_digest
from edgecritic_bench.quantization.page.document import document
from edgecritic_bench.quantization.report import build_report
from edgecritic_bench.quantization.results import judged_arms
from edgecritic_bench.quantization.run import Run
from edgecritic_bench.quantization.samples import (
    MOST_REASONS,
    collect_reasons,
    disagreements,
    sample_dicts,
)
from edgecritic_bench.quantization.tables import markdown_page
from edgecritic_bench.quantization.worker import ArmFiles
from simulated_ladder import LADDER, simulated_run

MADE = Provenance("a machine", "a system", (("numpy", "2"),), "2026-01-01T00:00+00:00", "bench x")


@pytest.fixture
def ladder(tmp_path) -> Run:
    return simulated_run(tmp_path, 12, LADDER, attacks=2)


def rewrite(run: Run, name: str, change) -> None:
    """An arm's journal with its judgements changed, or left out where that gives None."""
    path = ArmFiles.of(run.folder, next(arm for arm in run.arms if arm.name == name)).journal
    judged = [change(one) for one in ArmFiles.of(run.folder, by_name(run, name)).judged().values()]
    path.unlink()
    append(path, [one for one in judged if one is not None])


def by_name(run: Run, name: str):
    return next(arm for arm in run.arms if arm.name == name)


def test_an_interim_report_says_who_has_rows_left(ladder):
    rewrite(ladder, "onnx q4", lambda one: None if "|master_key-1|" in one.row else one)
    report = build_report(ladder, 0.02, MADE, reasons=False)
    assert report["rows"]["left"] == {"onnx q4": 2}
    assert report["rows"]["planned"] - report["rows"]["judged"] == 2
    told = f"{report['rows']['judged']:,} of {report['rows']['planned']:,} rows"
    for page in (document(report), markdown_page(report)):
        assert f"An interim report: {told} were judged by all arms" in page
        assert "Not judged yet: onnx q4 2." in page


def test_a_complete_report_is_no_interim_one_though_rows_were_refused(ladder):
    refused = [row.key for row in ladder.rows.sample[:12]]

    def unread(one):
        none = (None,) * len(one.log_probs)
        zero = (0.0,) * len(one.mass)
        why = "the prompt has 9,000 tokens"
        return replace(one, log_probs=none, mass=zero, error=why) if one.row in refused else one

    for arm in ladder.arms:
        rewrite(ladder, arm.name, unread)
    report = build_report(ladder, 0.02, MADE, reasons=False)
    assert report["rows"]["left"] == {}
    assert {one["row"] for one in report["rows"]["refused"]} == set(refused)
    assert all(one["arms"] == [a.name for a in ladder.arms] for one in report["rows"]["refused"])
    for page in (document(report), markdown_page(report)):
        assert "interim" not in page
        assert page.count("was refused by reference, re-run") == 10
        assert "2 more rows were refused" in page
        assert "the prompt has 9,000 tokens" in page


def test_the_machine_is_where_arms_judged_with_their_devices(ladder):
    def run(machine: str, device: str, version: str) -> dict[str, object]:
        versions = [["torch", version]]
        return {"machine": machine, "device": device, "system": "Linux", "versions": versions}

    notes = {
        "reference": [run("A, 8 cores", "NVIDIA H200", "2.11")],
        "gguf F16": [run("A, 8 cores", "cpu", "2.11"), run("B, 2 cores", "cpu", "2.13")],
    }
    for name, runs in notes.items():
        path = ArmFiles.of(ladder.folder, by_name(ladder, name)).meta
        path.write_text(json.dumps(json.loads(path.read_text()) | {"runs": runs}))
    made = build_report(ladder, 0.02, MADE, reasons=False)["made"]
    assert made["machine"] == "A, 8 cores with NVIDIA H200; B, 2 cores"
    assert made["system"] == "Linux"
    assert made["versions"] == (("torch", "2.11"), ("torch", "2.13"))
    assert (made["date"], made["command"]) == (MADE.date, MADE.command)


@pytest.fixture
def explaining(ladder, monkeypatch):
    """Arms that explain, a worker's part played here; what each job was asked is kept."""
    asked: list[tuple[str, tuple[str, ...]]] = []
    verdicts = {
        (name, row_digest(one.row)): verdict
        for one in disagreements(ladder, judged_arms(ladder))
        for name, (verdict, _) in one.said.items()
    }

    def drive(jobs, at_once, judged):
        failed = {}
        for job in jobs:
            asked.append((job.arm, job.reasons))
            if job.arm == "gguf Q2_K":
                failed[job.arm] = "its file is gone"
                continue
            with ArmFiles.of(ladder.folder, by_name(ladder, job.arm)).reasons.open("a") as out:
                for digest in job.reasons:
                    text = f"It *is* <b>so</b>, says {job.arm}."
                    said = verdicts.get((job.arm, digest))
                    out.write(json.dumps({"digest": digest, "said": said, "reason": text}) + "\n")
        return failed

    monkeypatch.setattr(running, "drive", drive)
    return asked


def test_just_the_disagreeing_arms_of_the_shown_rows_explain(ladder, explaining):
    report = build_report(ladder, 0.02, MADE, reasons=True)
    found = disagreements(ladder, judged_arms(ladder))
    wanted = {(name, row_digest(one.row)) for one in found for name in one.explaining}
    assert {(name, digest) for name, digests in explaining for digest in digests} == wanted
    for one, sample in zip(found, report["samples"], strict=True):
        assert one.explaining[0] == "reference"
        assert len(one.explaining) <= 1 + MOST_REASONS
        verdict = one.said["reference"][0]
        if isinstance(verdict, str):
            turned = {name for name, (said, _) in one.said.items() if said != verdict}
            assert set(one.explaining[1:]) <= turned
            assert len(one.explaining) == 1 + min(MOST_REASONS, len(turned))
        assert set(sample["reasons"]) == set(one.explaining) - {"gguf Q2_K"}
    assert report["reasons"]["asked"] == len(wanted)
    assert report["reasons"]["missing"] == {"gguf Q2_K": "its file is gone"}
    html, markdown = document(report), markdown_page(report)
    assert "It *is* &lt;b&gt;so&lt;/b&gt;, says reference." in html
    assert r"It \*is\* \<b\>so\</b\>, says reference." in markdown
    assert "<b>so" not in markdown
    for page in (html, markdown):
        assert "Missing: gguf Q2_K: its file is gone" in page.replace("\\_", "_")


def test_what_was_explained_is_not_asked_again(ladder, explaining):
    first = build_report(ladder, 0.02, MADE, reasons=True)
    explaining.clear()
    again = build_report(ladder, 0.02, MADE, reasons=True)
    assert {name for name, _ in explaining} == {"gguf Q2_K"}
    assert again["samples"] == first["samples"]
    # A report that asks for none shows those that are there.
    explaining.clear()
    quiet = build_report(ladder, 0.02, MADE, reasons=False)
    assert not explaining
    assert quiet["samples"] == first["samples"]
    assert quiet["reasons"]["missing"] == {"gguf Q2_K": "they were not asked for"}


def test_a_line_that_a_killed_process_left_is_no_reason(ladder, explaining):
    found = disagreements(ladder, judged_arms(ladder))
    whole = collect_reasons(ladder, found, ask=True)
    path = ArmFiles.of(ladder.folder, by_name(ladder, "reference")).reasons
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:20])
    torn = collect_reasons(ladder, found, ask=False)
    assert "reference" in torn.missing
    assert len(torn.given) == len(whole.given) - 1


def test_a_reason_for_another_verdict_says_so(ladder, explaining):
    found = disagreements(ladder, judged_arms(ladder))
    reasons = collect_reasons(ladder, found, ask=True)
    key = ("reference", row_digest(found[0].row))
    assert isinstance(found[0].said["reference"][0], str)
    level = next(one for one in found if isinstance(one.said["reference"][0], float))
    given = dict(reasons.given)
    given[key] = ("tie", "Both are right.")
    given["reference", row_digest(level.row)] = (level.said["reference"][0] + 1.5, "Right.")
    told = sample_dicts(found, replace(reasons, given=given))
    assert told[0]["reasons"]["reference"] == "(asked again: tie) Both are right."
    assert "(asked again: " in told[found.index(level)]["reasons"]["reference"]
    assert sum("asked again" in text for one in told for text in one["reasons"].values()) == 2


def test_arms_of_a_narrowed_report_leave_the_plan_alone(ladder, explaining):
    write_arms(ladder.folder / "arms.json", ladder.arms)
    few = ladder.narrowed(["gguf Q4_K_M"])
    collect_reasons(few, disagreements(few, judged_arms(few)), ask=True)
    assert explaining
    assert read_arms(ladder.folder / "arms.json") == ladder.arms
