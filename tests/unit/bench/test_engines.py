"""Engines on the same pairs: winners outside of a tie band, and what is judged for that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic import Critic, InputError
from edgecritic_bench.engines import EnginePlan, agreement, compare_engines, summary, to_json
from edgecritic_bench.records import PairwiseRecord, read_records
from edgecritic_bench.tables import log_softmax
from hashed_critic import hashed_critic, verdict_script


def leading(record: PairwiseRecord, nats: float) -> PairwiseRecord:
    """The same pair with a lead of the first response."""
    order = tuple(log_softmax(np.array([nats, 0.0, -1.0])).tolist())
    return replace(record, orders=(order, order), mass=(1.0, 1.0))


def test_winners_count_outside_of_the_band_only(simulate):
    pairs = [r for r in simulate(1) if isinstance(r, PairwiseRecord)][:4]
    reference = [leading(r, nats) for r, nats in zip(pairs, (1.0, -1.0, 0.04, 0.2), strict=True)]
    other = [leading(r, nats) for r, nats in zip(pairs, (0.9, -1.1, -0.04, -0.1), strict=True)]
    found = agreement(reference, other[::-1], 0.05)
    assert (found.rows, found.decided, found.agreeing) == (4, 3, 2)
    assert found.share == pytest.approx(2 / 3)
    assert found.parity.pairwise is not None
    assert found.parity.pairwise.max == pytest.approx(0.2, abs=0.05)
    assert agreement(reference, other, 0.0).agreeing == 2
    assert np.isnan(agreement(reference, other, 5.0).share)


def test_pairs_that_one_engine_cannot_read_are_left_out(simulate):
    pairs = [leading(r, 1.0) for r in simulate(1) if isinstance(r, PairwiseRecord)]
    unread = replace(pairs[0], orders=(None, pairs[0].orders[1]))
    found = agreement(pairs, [unread, *pairs[1:-1]], 0.05)
    assert (found.rows, found.agreeing) == (len(pairs) - 2, len(pairs) - 2)


@pytest.fixture
def evaluation_set(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    texts = ("It is a 7.", "3", "")
    lines = []
    for number in range(5):
        for side, colour in enumerate(("red", "blue")):
            Image.new("RGB", (30 + number, 20), colour).save(folder / f"{number}{side}.png")
        entry = {
            "id": f"T-{number}",
            "kind": "digit",
            "split": "T",
            "question": "Which digit?",
            "images": [f"{number}0.png", f"{number}1.png"],
            "responses": [{"text": t, "scores": [5, 5], "families": ["a", "a"]} for t in texts],
            "pairs": [
                {"side": side, "first": 0, "second": k, "winner": "tie", "image_decided": False}
                for side in (0, 1)
                for k in (1, 2)
            ],
        }
        lines.append(json.dumps(entry) + "\n")
    (folder / "items.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, int | None]]:
    """Which engines are loaded; the second one believes something else now and then."""
    seen: list[tuple[Path, str, int | None]] = []

    def load(bundle: Path, *, backend: str, device: str, threads: int | None) -> Critic:
        assert device == "cpu"
        seen.append((bundle, backend, threads))
        if backend == "hf":
            return hashed_critic()[0]
        return hashed_critic(
            script=lambda history: {
                token: logit + 0.1 * (token == ord("f"))
                for token, logit in verdict_script(history).items()
            }
        )[0]

    monkeypatch.setattr(Critic, "load", load)
    return seen


def test_the_same_pairs_go_through_every_engine(
    evaluation_set: Path, tmp_path: Path, loads: list[tuple[Path, str, int | None]]
) -> None:
    plan = EnginePlan(evaluation_set, tmp_path / "out", rows=10, threads=2)
    bundles = {"hf": tmp_path / "a", "onnx": tmp_path / "b"}
    told: list[str] = []
    found = compare_engines(bundles, plan, told.append)
    assert loads == [(tmp_path / "a", "hf", 2), (tmp_path / "b", "onnx", 2)]
    assert told == ["hf: 12 pairs judged", "onnx: 12 pairs judged"]  # three whole items
    assert found.keys() == {"onnx"}
    assert found["onnx"].rows <= 12
    differences = found["onnx"].parity.pairwise
    assert differences is not None
    assert 0 < differences.max <= 0.1
    before = read_records([plan.out / "onnx.jsonl"])
    again = to_json(compare_engines(bundles, plan), plan)  # nothing is judged twice
    assert again == to_json(found, plan)
    assert read_records([plan.out / "onnx.jsonl"]) == before
    page = summary(found, plan)
    assert page.splitlines()[2].startswith(f"| onnx | {found['onnx'].rows} |")
    numbers = json.loads(to_json(found, plan))
    assert numbers["engines"]["onnx"]["agreeing"] == found["onnx"].agreeing


def test_what_cannot_be_compared(
    evaluation_set: Path, tmp_path: Path, loads: list[tuple[Path, str, int | None]]
) -> None:
    with pytest.raises(InputError, match="one engine alone"):
        compare_engines({"hf": tmp_path}, EnginePlan(evaluation_set, tmp_path / "out"))
    with pytest.raises(InputError, match="fewer than 21 pairs"):
        compare_engines(
            {"hf": tmp_path, "onnx": tmp_path},
            EnginePlan(evaluation_set, tmp_path / "out", rows=21),
        )
    assert loads == []
