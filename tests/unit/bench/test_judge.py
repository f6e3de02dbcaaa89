"""Judging an evaluation set: what is recorded, resumed, shared and refused."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic import Critic, ImageError, InputError, Rubric
from edgecritic_bench.items import read_items
from edgecritic_bench.judge import Plan, judge_sets, meta_path, read_meta
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import PairwiseRecord, PointwiseRecord, read_records
from hashed_critic import PROFILE, hashed_critic

RUN = Provenance("a machine", "a system", (("numpy", "2.0"),), "2026-01-01T00:00+00:00", "bench")
ROW = {
    "kind": "digit",
    "split": "T0",
    "seed": 1,
    "question": "Which digit is this?",
    "references": ["7", "3"],
    "responses": [
        {"text": "It is a 7.", "scores": [10, 3], "families": ["correct", "wrong_value"]},
        {"text": "3", "scores": [3, 9], "families": ["wrong_value", "terse"]},
        {"text": "", "scores": [1, 1], "families": ["empty", "empty"]},
    ],
    "pairs": [
        {"side": 0, "first": 1, "second": 0, "winner": "second", "image_decided": True},
        {"side": 1, "first": 1, "second": 0, "winner": "first", "image_decided": True},
        {"side": 1, "first": 0, "second": 2, "winner": "first", "image_decided": False},
    ],
}


@pytest.fixture
def evaluation_set(tmp_path: Path) -> Path:
    folder = tmp_path / "T0"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(2):
        name = f"T0-{number:06d}"
        paths = []
        for side, colour in enumerate(("red", "blue")):
            paths.append(f"images/{name}-{'ab'[side]}.png")
            Image.new("RGB", (30 + number, 20), colour).save(folder / paths[-1])
        lines.append(json.dumps({**ROW, "id": name, "images": paths}))
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def judged(folder: Path, out: Path, plan: Plan | None = None, critic: Critic | None = None) -> int:
    critic = critic or hashed_critic()[0]
    return sum(1 for _ in judge_sets(critic, [folder], plan or Plan(), out, RUN))


def test_every_judgement_of_the_set_is_recorded_once(evaluation_set, tmp_path):
    out = tmp_path / "records.jsonl"
    # Two items, two conditions: three responses on two pictures, and three pairs.
    assert judged(evaluation_set, out) == 2 * 2 * (3 * 2 + 3)
    records = read_records([out])
    assert len(records) == 36
    scored = [r for r in records if isinstance(r, PointwiseRecord)]
    assert {(r.response, r.place.side): (r.gold, r.family) for r in scored} == {
        (0, 0): (10, "correct"),
        (0, 1): (3, "wrong_value"),
        (1, 0): (3, "wrong_value"),
        (1, 1): (9, "terse"),
        (2, 0): (1, "empty"),
        (2, 1): (1, "empty"),
    }
    compared = [r for r in records if isinstance(r, PairwiseRecord)]
    assert {(r.place.side, r.first, r.second, r.winner, r.image_decided) for r in compared} == {
        (0, 1, 0, "second", True),
        (1, 1, 0, "first", True),
        (1, 0, 2, "first", False),
    }
    assert all(record.readable for record in records)


def test_records_say_what_the_critic_says(evaluation_set, tmp_path):
    out = tmp_path / "records.jsonl"
    judged(evaluation_set, out)
    critic, _ = hashed_critic()
    item = next(read_items(evaluation_set))
    for record in read_records([out]):
        if record.place.item != item.name:
            continue
        with Image.open(item.images[record.place.side]) as opened:
            picture = opened.convert("RGB")
        if record.place.condition == "blank":
            picture = Image.new("RGB", picture.size, (128, 128, 128))
        if isinstance(record, PointwiseRecord):
            text = item.responses[record.response].text
            verdict = critic.score(picture, item.question, text, rubric=Rubric(), rationale=False)
            assert np.exp(record.log_probs) == pytest.approx(list(verdict.probabilities.values()))
            assert record.mass == verdict.mass
        else:
            texts = [item.responses[i].text for i in (record.first, record.second)]
            preference = critic.compare(picture, item.question, *texts, rationale=False)
            for mine, order in zip(record.orders, preference.orders, strict=True):
                assert np.exp(mine) == pytest.approx(list(order.probabilities.values()))


def test_a_bundles_temperature_leaves_no_trace(evaluation_set, tmp_path):
    plain, warm = tmp_path / "plain.jsonl", tmp_path / "warm.jsonl"
    judged(evaluation_set, plain)
    calibration = replace(
        PROFILE.calibration, pointwise_temperature=2.5, pairwise_temperature=0.6, tie_margin=1.0
    )
    critic, _ = hashed_critic(profile=replace(PROFILE, calibration=calibration))
    judged(evaluation_set, warm, critic=critic)
    for one, other in zip(read_records([plain]), read_records([warm]), strict=True):
        if isinstance(one, PointwiseRecord):
            assert other.log_probs == pytest.approx(one.log_probs, abs=1e-9)
        else:
            assert np.array(other.orders) == pytest.approx(np.array(one.orders), abs=1e-9)


def test_sharing_records_the_same_and_decodes_less(evaluation_set, tmp_path):
    apart, together = tmp_path / "apart.jsonl", tmp_path / "together.jsonl"
    critic, one_by_one = hashed_critic()
    judged(evaluation_set, apart, critic=critic)
    critic, ranked = hashed_critic()
    judged(evaluation_set, together, Plan(shared=True), critic)
    first, second = read_records([apart]), read_records([together])
    for one, other in zip(first, second, strict=True):
        assert one.key == other.key
        if isinstance(one, PointwiseRecord):
            assert other.log_probs == pytest.approx(one.log_probs, abs=1e-9)
        else:
            assert np.array(other.orders) == pytest.approx(np.array(one.orders), abs=1e-9)
    # One by one, most of what is shared is found in the cache.
    assert ranked.decoded <= one_by_one.decoded
    assert ranked.batches < 0.8 * one_by_one.batches


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("torn", ["", '{"id": "T0-0000'])
def test_an_interrupted_run_goes_on(evaluation_set, tmp_path, shared, torn):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    plan = Plan(shared=shared)
    judged(evaluation_set, whole, plan)
    run = judge_sets(hashed_critic()[0], [evaluation_set], plan, parts, RUN)
    for _ in range(8):
        next(run)
    run.close()
    with parts.open("a") as file:
        file.write(torn)
    assert judged(evaluation_set, parts, plan) == 36 - 8
    assert judged(evaluation_set, parts, plan) == 0
    for one, other in zip(read_records([parts]), read_records([whole]), strict=True):
        assert one.key == other.key


def test_a_plan_narrows_the_run(evaluation_set, tmp_path):
    out = tmp_path / "records.jsonl"
    plan = Plan(settings=("pairwise",), conditions=("blank",), limit=1)
    assert judged(evaluation_set, out, plan) == 3
    assert {record.place.condition for record in read_records([out])} == {"blank"}


def test_another_critics_records_are_not_mixed_in(evaluation_set, tmp_path):
    out = tmp_path / "records.jsonl"
    judged(evaluation_set, out, Plan(limit=1))
    critic, _ = hashed_critic(profile=replace(PROFILE, name="other-2"))
    with pytest.raises(InputError, match="holds judgements by hashed-1"):
        judged(evaluation_set, out, critic=critic)
    meta = read_meta(out)
    assert meta is not None
    assert meta["critic"] == "hashed-1"
    assert meta["machine"] == "a machine"
    meta_path(out).unlink()
    assert read_meta(out) is None


def test_a_verdict_that_cannot_be_read_is_recorded_as_such(evaluation_set, tmp_path):
    out = tmp_path / "records.jsonl"
    critic, _ = hashed_critic(script=lambda history: {})
    judged(evaluation_set, out, critic=critic)
    records = read_records([out])
    assert len(records) == 36
    assert not any(record.readable for record in records)


def test_a_damaged_set_is_named(evaluation_set, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        judged(tmp_path, tmp_path / "records.jsonl")
    rows = evaluation_set / "items.jsonl"
    rows.write_text(rows.read_text() + '{"id": "x"}\n')
    with pytest.raises(InputError, match=r"items\.jsonl:3"):
        list(read_items(evaluation_set))
    bad = {**ROW, "id": "x", "images": ["a", "b"]}
    bad["pairs"] = [{**ROW["pairs"][0], "first": 9}]
    rows.write_text(json.dumps(bad))
    with pytest.raises(InputError, match="not in the item"):
        list(read_items(evaluation_set))


def test_a_picture_that_is_none_is_named(evaluation_set, tmp_path):
    (evaluation_set / "images" / "T0-000001-b.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"T0-000001-b\.png is no picture"):
        judged(evaluation_set, tmp_path / "records.jsonl")


def test_provenance_reads_back_and_shows_no_folders(tmp_path):
    run = Provenance.here(["judge", str(tmp_path / "set"), "--out", "docs/a.jsonl"])
    assert Provenance.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert run.command == "edgecritic bench judge set --out docs/a.jsonl"
    assert "numpy" in run.versions_text
    assert "cores" in run.machine


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("/home/me/sets/T0", "T0"),
        ("gguf Q4_K_M=/data/b/gguf/Q4_K_M", "gguf Q4_K_M=Q4_K_M"),
        ("vl-rewardbench:/data/vl.parquet", "vl-rewardbench:vl.parquet"),
        ("/data/run:gguf F16", "run:gguf F16"),
        (r"C:\Users\me\sets\T0", "T0"),
        ("hub:owner/name", "hub:owner/name"),
        ("sets/T0", "sets/T0"),
        ("--margin=2", "--margin=2"),
    ],
)
def test_a_command_tells_names_and_no_folders_of_this_machine(word, told):
    assert shlex.split(Provenance.here([word]).command) == ["edgecritic", "bench", told]
