"""Everything that validation is to find, each planted in a file of sound rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgecritic.errors import InputError
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rows import (
    SWAPPED,
    CriticRow,
    ImageBytes,
    ImageFile,
    to_line,
    write_rows,
)
from edgecritic_train.critic_data.validation.check import CheckOptions, check
from edgecritic_train.critic_data.validation.pictures import inspect, likeness


def picture(path, seed, size=(32, 24), plain=False):
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    noise = np.full_like(noise, seed % 256) if plain else noise
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)
    return ImageFile(path)


@pytest.fixture
def sound(tmp_path):
    """120 pairs and 60 scores without a fault, each of a picture of its own."""
    rows = []
    for k in range(120):
        row = CriticRow(
            id=f"p{k}",
            setting="pairwise",
            question=f"Question {k}?",
            responses=("short", "a longer one") if k % 4 < 2 else ("a longer one", "short"),
            verdict="tie" if k % 10 == 0 else ("first", "second")[k % 2],
            images=(picture(tmp_path / f"{k}.png", k),),
            reason="It is so.",
            source="made",
        )
        rows.append(row)
    for k in range(60):
        row = CriticRow(
            id=f"s{k}",
            setting="pointwise",
            question=f"Question {k}?",
            responses=(f"answer {k}",),
            verdict=1 + k % 10,
            images=rows[k].images,
            reason="It is so.",
            source="made",
        )
        rows.append(row)
    return rows


def found(tmp_path, rows, **options):
    write_rows(tmp_path / "rows.jsonl", rows)
    report = check([tmp_path / "rows.jsonl"], CheckOptions(load_dialect(), **options))
    return {kind.name: (kind.severity, f.count, f.examples) for kind, f in report.findings}, report


def test_sound_rows_are_usable_and_nothing_is_said_of_them(tmp_path, sound):
    kinds, report = found(tmp_path, sound)
    assert set(kinds) == {"lengths-unknown"}
    assert report.usable
    assert report.summary["rows"] == 180
    assert report.summary["pictures"] == 120


PLANTS = {
    "label-leak": lambda r: {
        "responses": ("It is a cat. [[A]]", r.responses[1]),
        "verdict": "first",
    },
    "stated-verdict": lambda r: {
        "responses": ("Better: first", r.responses[1]),
        "verdict": "second",
    },
    "reason-contradicts": lambda r: {
        "verdict": "first",
        "reason": "The second response is better, as it is longer.",
    },
    "no-reason": lambda r: {"reason": ""},
    "control-tokens": lambda r: {"question": "What is <image> here?"},
    "control-characters": lambda r: {"reason": "It\x07is."},
    "empty-response": lambda r: {"responses": ("", "x")},
    "no-image": lambda r: {"images": ()},
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_at_its_line(tmp_path, sound, name):
    sound[3] = replace(sound[3], **PLANTS[name](sound[3]))
    kinds, report = found(tmp_path, sound)
    assert set(kinds) == {"lengths-unknown", name}
    severity, count, (where,) = kinds[name]
    assert (count, where) == (1, f"{tmp_path / 'rows.jsonl'}:4: p3")
    assert report.usable == (severity != "error")


@pytest.mark.parametrize(
    ("verdict", "reason", "contradicts"),
    [
        (7, "A good answer.\nScore: 7", False),
        (7, "A good answer.\nScore: 6", True),
        (7, "The score of the match was 3 to 2.", False),
        (7, "Rating: 30", False),
    ],
)
def test_reasons_of_scores_are_read_by_the_runtime_s_parser(
    tmp_path, sound, verdict, reason, contradicts
):
    sound[130] = replace(sound[130], verdict=verdict, reason=reason)
    kinds, _ = found(tmp_path, sound)
    assert ("reason-contradicts" in kinds) == contradicts


def test_an_ordinary_number_or_ratio_is_no_leak(tmp_path, sound):
    sound[130] = replace(sound[130], verdict=7, responses=("7",))
    sound[131] = replace(sound[131], verdict=7, responses=("It fills 7/10 of the picture.",))
    kinds, _ = found(tmp_path, sound)
    assert "label-leak" not in kinds


def test_pictures_that_cannot_be_read_are_named_with_their_row(tmp_path, sound):
    sound[5].images[0].path.write_bytes(b"no picture")
    sound[7].images[0].path.unlink()
    sound[9] = replace(sound[9], images=(ImageBytes(b"\x89PNG broken"),))
    kinds, report = found(tmp_path, sound)
    _, count, examples = kinds["bad-image"]
    assert count == 3
    assert any("rows.jsonl:6: " in e and "(2 rows)" in e for e in examples)
    assert any("there is no image file" in e for e in examples)
    assert not report.usable


def test_lines_that_are_no_rows_are_named_and_the_others_checked(tmp_path, sound):
    write_rows(tmp_path / "rows.jsonl", sound)
    bad = json.dumps({**sound[0].to_dict(), "id": "x", "verdict": "third"})
    out = sound[130].to_dict() | {"id": "y", "verdict": 11}
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(f"{bad}\n{json.dumps(out)}\n{to_line(sound[1])[:50]}")
    report = check([tmp_path / "rows.jsonl"], CheckOptions(load_dialect()))
    told = {kind.name: f for kind, f in report.findings}
    assert told["bad-row"].count == 3
    assert "rows.jsonl:181: verdict is 'third'" in told["bad-row"].examples[0]
    assert "verdict is 11, outside the rubric's range 1-10" in told["bad-row"].examples[1]
    assert report.summary["rows"] == 180


def test_a_place_that_wins_and_a_length_that_wins(tmp_path, sound):
    placed = [replace(r, verdict="first") if r.setting == "pairwise" else r for r in sound]
    kinds, _ = found(tmp_path, placed)
    assert {"place-wins", "no-ties"} <= set(kinds)
    assert "length-wins" not in kinds
    by_length = [
        replace(r, verdict="first" if len(r.responses[0]) > len(r.responses[1]) else "second")
        if r.setting == "pairwise"
        else r
        for r in sound
    ]
    kinds, report = found(tmp_path, by_length)
    assert {"length-wins", "no-ties"} <= set(kinds)
    assert "place-wins" not in kinds
    assert report.summary["balance"]["longer_wins"] == {"pairs": 120, "share": 1.0}


def test_scores_that_are_always_the_same(tmp_path, sound):
    same = [replace(r, verdict=9) if r.setting == "pointwise" else r for r in sound]
    kinds, _ = found(tmp_path, same)
    assert kinds["one-level"][2] == ["made, 1-10: 9 is 100% of 60"]


def test_scores_that_follow_the_length_are_told(tmp_path, sound):
    longer = [
        replace(r, responses=("x" * int(r.verdict),)) if r.setting == "pointwise" else r
        for r in sound
    ]
    _, report = found(tmp_path, longer)
    assert report.summary["balance"]["score_length_rank_correlation"] == pytest.approx(1)


def test_pairs_in_both_orders_must_agree(tmp_path, sound):
    def swapped(row, verdict):
        return replace(row, id=f"{row.id}~", responses=row.responses[::-1], verdict=verdict)

    sound.append(swapped(sound[1], SWAPPED[sound[1].verdict]))
    kinds, report = found(tmp_path, sound)
    assert set(kinds) == {"lengths-unknown"}
    assert report.summary["balance"]["pairs_in_both_orders"] == 1
    sound.append(swapped(sound[2], sound[2].verdict))
    kinds, _ = found(tmp_path, sound)
    assert kinds["orders-contradict"][2] == [
        f"{tmp_path / 'rows.jsonl'}:3 and {tmp_path / 'rows.jsonl'}:182"
    ]


def test_repeated_ids_rows_and_disputes(tmp_path, sound):
    sound.append(replace(sound[1], question=f" {sound[1].question.upper()}  "))
    copy = tmp_path / "copy.png"
    shutil.copy(sound[2].images[0].path, copy)
    sound.append(replace(sound[2], id="again", images=(ImageFile(copy),), verdict="tie"))
    kinds, _ = found(tmp_path, sound)
    assert kinds["same-id"][:2] == ("error", 1)
    assert kinds["duplicate"][1] == 1
    assert kinds["disputed"][1] == 1


def test_another_rubric_asks_another_thing(tmp_path, sound):
    sound.append(replace(sound[130], id="again", rubric=Rubric(0, 100), verdict=50))
    kinds, _ = found(tmp_path, sound)
    assert set(kinds) == {"lengths-unknown"}


def test_what_splits_share_is_found_by_content_likeness_text_and_group(tmp_path, sound):
    held = replace(sound[1], split="test", question="Another?", responses=("u", "v"))
    copy = tmp_path / "copy.png"
    shutil.copy(sound[1].images[0].path, copy)
    like = tmp_path / "like.jpg"
    Image.open(sound[2].images[0].path).resize((64, 48)).save(like, quality=90)
    other = picture(tmp_path / "other.png", 999)
    rows = [
        *sound,
        replace(held, id="t1", group="t1", images=(ImageFile(copy),)),
        replace(held, id="t2", group="t2", images=(ImageFile(like),), split="validation"),
        replace(sound[3], id="t3", group="t3", images=(other,), split="test"),
        replace(held, id="t4", group=sound[4].group, images=()),
    ]
    kinds, report = found(tmp_path, rows)
    expected = ("image", "like-image", "text", "group")
    assert {f"{what}-in-two-splits" for what in expected} <= set(kinds)
    shared = report.summary["repeats"]["shared_between_splits"]
    assert shared == {"groups": 1, "images": 1, "like_images": 1, "texts": 1}
    assert not report.usable


def test_splits_in_two_files_are_checked_together(tmp_path, sound):
    write_rows(tmp_path / "a.jsonl", sound[:100])
    write_rows(tmp_path / "b.jsonl", [replace(row, split="test") for row in sound[100:]])
    report = check([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], CheckOptions(load_dialect()))
    # The scores in the second file are of pictures of the first.
    assert report.summary["repeats"]["shared_between_splits"]["images"] == 60


def test_likeness_survives_resizing_and_knows_its_limits(tmp_path):
    image = Image.open(picture(tmp_path / "a.png", 1).path).convert("RGB")
    bits = likeness(image)
    assert (bits ^ likeness(image.resize((80, 60)))).bit_count() <= 3
    assert (bits ^ likeness(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).bit_count() > 3
    assert inspect(picture(tmp_path / "b.png", 7, plain=True).path).likeness is None


def test_rows_of_which_none_is_for_training(tmp_path, sound):
    kinds, report = found(tmp_path, [replace(row, split="test") for row in sound])
    assert kinds["no-rows"][0] == "error"
    assert not report.usable


def test_a_row_that_the_dialect_cannot_ask(tmp_path, sound):
    sound[0] = replace(sound[0], reason="")
    write_rows(tmp_path / "rows.jsonl", sound)
    dialect = replace(load_dialect(), reason_first=True)
    report = check([tmp_path / "rows.jsonl"], CheckOptions(dialect))
    assert "cannot-be-asked" in {kind.name for kind, _ in report.findings}


def test_the_command_reports_and_its_status_tells(tmp_path, sound, capsys):
    write_rows(tmp_path / "rows.jsonl", sound)
    asked = ["data", "validate", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "report")]
    assert main(asked) == 0
    assert "Usable: yes." in capsys.readouterr().out
    sound[5].images[0].path.unlink()
    assert main(asked) == 1
    said = capsys.readouterr().out
    assert "## error: bad-image (1)" in said
    assert (tmp_path / "report/validation.md").read_text() == said
    report = json.loads((tmp_path / "report/validation.json").read_text())
    assert report["usable"] is False
    assert report["findings"][0]["name"] == "bad-image"
    with pytest.raises(InputError, match="cannot be read"):
        main(["data", "validate", str(tmp_path / "none.jsonl")])
