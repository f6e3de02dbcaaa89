"""Counts add up, and the figure is drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecritic.errors import InputError
from edgecritic.task import Rubric
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rows import CriticRow, write_rows
from edgecritic_train.critic_data.statistics.collect import collect


def scored(level, low, high, reason="so it is"):
    return CriticRow(
        "r", "pointwise", "q?", ("a b c",), level, rubric=Rubric(low, high), reason=reason
    )


@given(st.integers(0, 5), st.integers(1, 99), st.data())
def test_every_level_falls_into_one_tenth(low, width, data):
    level = data.draw(st.integers(low, low + width))
    statistics = collect([scored(level, low, low + width)])
    ((tenth, count),) = statistics.places.items()
    assert count == 1
    assert 0 <= tenth <= 9
    assert (tenth == 0) >= (level == low)
    assert (tenth == 9) >= (level == low + width)


def test_counts_add_up(pair):
    rows = [
        pair,
        replace(pair, id="b", verdict="tie", source="dogs", split="test", reference="x"),
        scored(3, 1, 5, reason="one two three four"),
    ]
    told = collect(rows).to_dict()
    assert told["rows"] == 3
    assert told["settings"] == {"pairwise": 2, "pointwise": 1}
    assert told["sources"]["dogs"] == {"pairwise": 1}
    assert told["winners"] == {"second": 1, "tie": 1}
    assert told["scales"] == {"1-5": {"3": 1}}
    assert sum(told["scores_by_tenth_of_scale"]) == 1
    assert told["words"]["response"]["count"] == 5
    assert told["words"]["reason"]["longest"] == 4
    assert told["words"]["reason"]["histogram"] == {"4": 3}
    assert told["images_per_row"] == {"0": 1, "1": 2}
    assert (told["distinct_pictures"], told["with_reference"]) == (1, 1)


@pytest.mark.parametrize("only", [None, "pointwise"])
def test_the_command_writes_numbers_and_a_figure(tmp_path, pair, only):
    rows = [pair, replace(scored(3, 1, 5), id="s"), *(replace(pair, id=f"{k}") for k in range(20))]
    rows = [row for row in rows if only in (None, row.setting)]
    write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out"
    assert main(["data", "stats", str(tmp_path / "rows.jsonl"), "--out", str(out)]) == 0
    assert json.loads((out / "stats.json").read_text())["rows"] == len(rows)
    figure = Image.open(out / "stats.png").convert("L")
    assert min(figure.size) > 600
    assert len(figure.getcolors(figure.width * figure.height)) > 20


def test_rows_without_reasons_and_names_that_no_font_has_are_drawn(tmp_path):
    rows = [replace(scored(3, 1, 5, reason=""), source=name) for name in ("$\\nix{$", "中文")]
    write_rows(tmp_path / "rows.jsonl", [replace(row, id=row.source) for row in rows])
    asked = ["data", "stats", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path)]
    assert main(asked) == 0
    told = json.loads((tmp_path / "stats.json").read_text())
    assert (told["words"]["reason"], set(told["sources"])) == ({"count": 0}, {"$\\nix{$", "中文"})


def test_a_file_without_rows_of_the_split_is_named(tmp_path, pair):
    write_rows(tmp_path / "rows.jsonl", [pair])
    asked = ["data", "stats", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path)]
    with pytest.raises(InputError, match="there are no rows"):
        main([*asked, "--split", "test"])
