"""Rows are what they say, and files of them lose nothing."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import ArtifactError, CriticError, InputError
from edgecritic.task import Rubric
from edgecritic_train.critic_data.rows import (
    WINNERS,
    CriticRow,
    ImageBytes,
    ImageFile,
    read_rows,
    scan_rows,
    to_line,
    write_rows,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
WORDS = TEXT.filter(str.strip)
IMAGES = st.lists(
    st.one_of(
        st.binary(max_size=20).map(ImageBytes),
        st.from_regex(r"\A[a-z]{1,8}/[a-z]{1,8}\.png\Z").map(lambda p: ImageFile(Path("/d") / p)),
    ),
    max_size=3,
).map(tuple)


@st.composite
def critic_rows(draw):
    pairwise = draw(st.booleans())
    low = draw(st.integers(0, 5))
    rubric = Rubric(low, low + draw(st.integers(1, 100)), draw(st.none() | TEXT), {low: "poor"})
    levels = st.integers(rubric.low, rubric.high)
    return CriticRow(
        id=draw(WORDS),
        setting="pairwise" if pairwise else "pointwise",
        question=draw(WORDS),
        responses=tuple(draw(TEXT) for _ in range(2 if pairwise else 1)),
        verdict=draw(st.sampled_from(WINNERS) if pairwise else levels),
        images=draw(IMAGES),
        reference=draw(st.none() | TEXT),
        rubric=rubric,
        wording=draw(st.integers(0, 40)),
        reason=draw(TEXT),
        group=draw(TEXT),
        split=draw(st.sampled_from(["train", "validation", "test"])),
    )


@given(critic_rows())
def test_a_line_says_all_that_a_row_holds(row):
    line = to_line(row, Path("/d"))
    assert "\n" not in line
    assert CriticRow.from_dict(json.loads(line), Path("/d")) == row


def test_a_file_gives_back_its_rows_and_finds_its_pictures_where_it_is_moved(tmp_path, pair):
    rows = [pair, replace(pair, id="a-2", verdict="tie", split="test")]
    assert write_rows(tmp_path / "rows.jsonl", rows) == 2
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows
    assert [row.id for row in read_rows(tmp_path / "rows.jsonl", "test")] == ["a-2"]
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    (ref,) = next(read_rows(moved / "rows.jsonl")).images
    assert ref == ImageFile(moved / "images/one.png")
    assert ref.path.is_file()


def test_a_row_of_its_own_is_its_own_group(pair):
    assert pair.group == pair.id


def test_writing_that_fails_leaves_the_old_file(tmp_path, pair):
    def broken():
        yield pair
        raise InputError("gone", "")

    write_rows(tmp_path / "rows.jsonl", [pair])
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(InputError, match="gone"):
        write_rows(tmp_path / "rows.jsonl", broken())
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert list(tmp_path.glob("*.part")) == []


BAD = {
    "verdict is 'third'": {"verdict": "third"},
    "verdict is 1": {"verdict": 1},
    "outside the rubric's range 1-5": {
        "setting": "pointwise",
        "responses": ["x"],
        "verdict": 6,
        "rubric": {"low": 1, "high": 5},
    },
    "not a whole number": {"setting": "pointwise", "responses": ["x"], "verdict": 3.5},
    "holds 1 texts": {"responses": ["x"]},
    "setting is 'listwise'": {"setting": "listwise"},
    "question is empty": {"question": "  "},
    "key 'verdict' is missing": {"verdict": ...},
    "key 'scores' is unknown": {"scores": [1]},
    "split is 'dev'": {"split": "dev"},
    "id is blank": {"id": " "},
    "an image is 3": {"images": [3]},
    "no base64": {"images": [{"base64": "%"}]},
    "reason is 7, not text": {"reason": 7},
    "wording is -1": {"wording": -1},
    "wording is True": {"wording": True},
    "responses holds 2, not text": {"responses": ["x", 2]},
    "responses is 'ab', not a list": {"responses": "ab"},
    "not ascending": {"rubric": {"low": 9, "high": 2}},
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_row_is_named_with_file_line_and_value(tmp_path, pair, message):
    data = pair.to_dict(tmp_path) | BAD[message]
    data = {key: value for key, value in data.items() if value is not ...}
    lines = [to_line(pair, tmp_path), "", json.dumps(data), to_line(pair, tmp_path)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=message) as caught:
        list(read_rows(path))
    assert caught.value.message.startswith(f"{path}:3: ")
    assert caught.value.hint
    kinds = [isinstance(row, CriticError) for _, row in scan_rows(path)]
    assert kinds == [False, True, False]


@pytest.mark.parametrize("line", ["{", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}', "\udcff"])
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"rows\.jsonl:1: "):
        list(read_rows(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, pair, monkeypatch):
    class Full:
        """A file on a disk without room."""

        def __init__(self, file):
            self.file = file

        def close(self):
            self.file.close()

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **k: Full(whole(self, mode, **k)))
    with pytest.raises(ArtifactError, match=r"rows\.jsonl cannot be written: No space left"):
        write_rows(tmp_path / "rows.jsonl", [pair])
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
