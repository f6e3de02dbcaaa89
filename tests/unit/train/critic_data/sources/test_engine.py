"""The data engine's items as rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from edgecritic.cli import main as command_line
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rendering import render_row
from edgecritic_train.critic_data.rows import SWAPPED, ImageFile, read_rows
from edgecritic_train.critic_data.sources.engine import Twin, fewer_rows, item_rows
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import generate
from edgecritic_train.rounds.config import QuestionSettings
from edgecritic_train.rounds.questions import read_questions


@pytest.fixture(scope="module")
def rows(packs: tuple[Path, Path]):
    items = list(generate(Assets.load(*packs), "train", 3, 60))
    return items, [row for item in items for row in item_rows(Twin.of(item))]


def test_every_response_is_scored_on_both_pictures(rows):
    items, made = rows
    scored = [row for row in made if row.setting == "pointwise"]
    assert len(scored) == 2 * sum(len(item.responses) for item in items)
    assert len({row.id for row in made}) == len(made)
    assert {row.split for row in made} == {"train"}


def test_no_place_wins_and_twins_stay_together(rows):
    _, made = rows
    winners = Counter(row.verdict for row in made if row.setting == "pairwise")
    assert abs(winners["first"] - winners["second"]) < 4 * (sum(winners.values()) ** 0.5)
    assert winners["tie"] > 0
    assert len({row.group for row in made}) == 60


def test_the_texts_alone_do_not_tell_the_winner(rows):
    """Every image-decided pair comes with a picture that turns it round."""
    _, made = rows
    verdicts: dict[tuple[str, frozenset[str]], Counter[str]] = {}
    for row in made:
        if row.setting == "pairwise" and row.verdict != "tie":
            winner = row.responses[("first", "second").index(row.verdict)]
            key = (row.group, frozenset(row.responses))
            verdicts.setdefault(key, Counter())[winner] += 1
    both = sum(len(counts) == 2 for counts in verdicts.values())
    assert both > len(verdicts) / 2


def test_ordinals_in_reasons_follow_the_order(rows):
    _, made = rows
    for row in made:
        if row.setting == "pairwise" and row.verdict != "tie":
            said = dict(re.findall(r"the (first|second)(?: response)? (is \w+|says)", row.reason))
            winner, loser = said.get(row.verdict, ""), said.get(SWAPPED[row.verdict], "")
            assert loser != "is right" or winner == "is right", row.reason


def test_the_command_writes_pictures_once(packs, tmp_path):
    asked = ["data", "import", "engine", "--assets", *map(str, packs), "--items", "3"]
    assert main([*asked, "--split", "T0", "--out", str(tmp_path)]) == 0
    made = list(read_rows(tmp_path / "rows.jsonl"))
    assert {row.split for row in made} == {"test"}
    assert all(isinstance(row.images[0], ImageFile) for row in made)
    assert len(list((tmp_path / "images").rglob("*.webp"))) <= 6
    assert all(render_row(row, _dialect()).ends for row in made)


def test_answers_are_right_and_ask_their_questions(packs, tmp_path):
    """What a policy learns is at the top of its scale, and the question of a round as well."""
    asked = ["data", "import", "engine", "--answers", "--assets", *map(str, packs), "--items", "6"]
    assert main([*asked, "--test", "0.5", "--out", str(tmp_path)]) == 0
    made = list(read_rows(tmp_path / "rows.jsonl"))
    assert len(made) == 12
    assert all(row.verdict == row.rubric.high == 10 for row in made)
    assert all(row.responses == (row.reference,) for row in made)
    assert {row.split for row in made} == {"train", "test"}
    settings = QuestionSettings((tmp_path / "rows.jsonl",), test=0.0)
    questions = read_questions(settings, tmp_path / "pictures", 0)
    assert [(q.text, q.reference, q.split) for q in questions] == [
        (row.question, row.reference, row.split) for row in made
    ]


def test_answers_stand_beside_judgements_in_a_file_of_their_own(packs, tmp_path):
    asked = ["data", "import", "engine", "--assets", *map(str, packs), "--items", "6"]
    held = ["--validation", "0.5"]
    assert main([*asked, *held, "--with-answers", "--out", str(tmp_path / "both")]) == 0
    assert main([*asked, *held, "--out", str(tmp_path / "alone")]) == 0
    both = {row.id: row for row in read_rows(tmp_path / "both" / "rows.jsonl")}
    assert list(both) == [row.id for row in read_rows(tmp_path / "alone" / "rows.jsonl")]
    made = list(read_rows(tmp_path / "both" / "answers.jsonl"))
    assert len(made) == 4 * 6
    report = json.loads((tmp_path / "both" / "import.json").read_text())
    assert (report["rows"], report["answers"]) == (len(both), len(made))
    assert sum(report["taken"].values()) == len(both) + len(made)
    shown = {row.images: row for row in both.values()}
    for row in made:
        assert row.responses == (row.reference,)
        assert (row.verdict, row.split) == (row.rubric.high, shown[row.images].split)
    lists = [row for row in made if row.id.endswith("-list")]
    assert {row.question for row in lists} == {"List what the picture shows."}
    assert {row.images for row in lists} == shown.keys()


def _dialect():
    from edgecritic.prompts import load_dialect

    return load_dialect()


def test_fewer_judgements_of_a_picture_are_pairs_and_scores(rows):
    for item in rows[0][:20]:
        whole = {row.id: row for row in item_rows(Twin.of(item))}
        made = list(fewer_rows(Twin.of(item), 4))
        assert all(whole[row.id] == row for row in made)
        for images in {row.images for row in made}:
            settings = Counter(row.setting for row in made if row.images == images)
            assert settings.total() == min(4, sum(row.images == images for row in whole.values()))
            assert settings["pairwise"] <= 2 or settings["pointwise"] < 2


def test_any_number_of_processes_draws_the_same(packs, tmp_path):
    asked = ["data", "import", "engine", "--assets", *map(str, packs), "--per-picture", "3"]
    for workers in ("1", "2"):
        folder = tmp_path / workers
        words = ["--items", "34", "--workers", workers, "--out", str(folder)]
        assert main([*asked, *words]) == 0
    one, two = ((tmp_path / n / "rows.jsonl").read_text() for n in "12")
    assert one == two
    assert 34 * 4 <= len(one.splitlines()) <= 34 * 6


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_pack_that_is_missing_is_told(tmp_path, capsys, workers):
    words = ["--items", "40", "--workers", workers, "--out", str(tmp_path / "out")]
    asked = ["train", "data", "import", "engine", "--assets", str(tmp_path / "nope.zip")]
    assert command_line([*asked, *words]) == 1
    told = capsys.readouterr().err
    assert f"no asset pack at {tmp_path / 'nope.zip'}" in told
    assert "hint: build it" in told
