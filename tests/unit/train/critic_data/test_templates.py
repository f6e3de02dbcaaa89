"""Templates, scales and splits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import InputError
from edgecritic.prompts import load_dialect, render
from edgecritic.task import Rubric, Task
from edgecritic_train.critic_data.scales import on_levels
from edgecritic_train.critic_data.splitting import Shares, held_out
from edgecritic_train.critic_data.templates import (
    DIALECT,
    PAIRWISE,
    POINTWISE,
    pairwise_template,
    pointwise_template,
)

WIDE = load_dialect(DIALECT)


def test_the_dialect_is_what_critics_were_trained_with():
    """Another hash is another dialect: give it a new name."""
    assert WIDE.identity == "edgecritic-wide-v1@d13a37784f10"


def test_there_are_enough_templates_and_no_two_read_alike():
    assert len(PAIRWISE) >= 30
    task = Task("Q?", ("a", "b"), 1, "R")
    texts = {render(replace(task, rubric=t.rubric), WIDE, t.wording).text for t in PAIRWISE}
    assert len(texts) == len(PAIRWISE) == len(WIDE.wordings["pairwise"])
    task = Task("Q?", ("a",), 1, "R")
    texts = {render(replace(task, rubric=t.rubric), WIDE, t.wording).text for t in POINTWISE}
    assert len(texts) == len(POINTWISE) == len(WIDE.wordings["pointwise"])
    assert len({(t.rubric.low, t.rubric.high) for t in POINTWISE}) >= 10
    assert len({t.name for t in (*PAIRWISE, *POINTWISE)}) == len(PAIRWISE) + len(POINTWISE)


@pytest.mark.parametrize("template", [*PAIRWISE, *POINTWISE], ids=lambda t: t.name)
def test_every_wording_says_all_that_it_is_given(template):
    responses = ("RESPONSE-1", "RESPONSE-2")[: 2 if template.setting == "pairwise" else 1]
    levels = {0: "LEVEL-0", 3: "LEVEL-3"} if template.setting == "pointwise" else {}
    task = Task("QUESTION", responses, 1, "REFERENCE", Rubric(0, 77, "CRITERIA", levels))
    text = render(task, WIDE, template.wording).text
    said = ["QUESTION", "REFERENCE", "CRITERIA", *responses, *levels.values()]
    assert all(text.count(part) == 1 for part in said)
    assert [text.index(part) for part in responses] == sorted(map(text.index, responses))
    # What the responses share stands in front of them, so that it is decoded once.
    assert max(text.index(p) for p in ("QUESTION", "REFERENCE", "CRITERIA")) < text.index(
        "RESPONSE-1"
    )
    assert template.setting == "pairwise" or "77" in text


def test_templates_are_drawn_evenly_and_the_same_each_time():
    drawn = [pairwise_template(7, k) for k in range(3200)]
    assert drawn == [pairwise_template(7, k) for k in range(3200)]
    counts = [drawn.count(t) for t in PAIRWISE]
    assert min(counts) > 60
    assert max(counts) < 150
    bare = [pointwise_template(k, has_reference=False) for k in range(500)]
    assert not any(t.needs_reference for t in bare)
    names = {pointwise_template(k, has_reference=True).name for k in range(500)}
    assert len(names) == len(POINTWISE)


@given(st.integers(0, 1000))
def test_a_score_keeps_its_place_on_a_finer_scale(tenths):
    rubric = Rubric(0, 100, "c", {0: "bad", 100: "good"})
    level, finer = on_levels(tenths / 10, rubric)
    assert Fraction(level, finer.high) == Fraction(tenths, 1000)
    assert [finer.levels[0], finer.levels[finer.high]] == ["bad", "good"]


def test_halves_double_the_scale_and_whole_scores_leave_it():
    assert on_levels("7.5", Rubric(1, 10)) == (15, Rubric(2, 20))
    assert on_levels("7.0", Rubric(1, 10)) == (7, Rubric(1, 10))
    assert on_levels(0.3, Rubric(0, 1)) == (3, Rubric(0, 10))
    assert on_levels("7,5", Rubric(1, 10)) == (15, Rubric(2, 20))  # as much of Europe writes it


@pytest.mark.parametrize("score", ["eleven", 10.5, -1, "nan", "7.123", "", "1/0", "8/2", "1,000"])
def test_what_is_no_score_of_the_range_is_refused(score):
    with pytest.raises(InputError, match="score"):
        on_levels(score, Rubric(1, 10))


def test_groups_stay_together_and_shares_are_kept(pair):
    shares = Shares(validation=0.1, test=0.2, seed=3)
    rows = [replace(pair, id=f"{k}", group=f"g{k // 2}") for k in range(4000)]
    split = list(held_out(rows, shares))
    for a, b in zip(split[::2], split[1::2], strict=True):
        assert a.split == b.split
    assert abs(sum(r.split == "test" for r in split) / 4000 - 0.2) < 0.03
    assert abs(sum(r.split == "validation" for r in split) / 4000 - 0.1) < 0.03
    (kept,) = held_out([replace(pair, split="test")], Shares())
    assert kept.split == "test"


@pytest.mark.parametrize("shares", [(-0.1, 0), (0.5, 0.5), (float("nan"), 0)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(InputError, match="held-out shares"):
        Shares(*shares)


def test_the_documentation_counts_them_right():
    page = (Path(__file__).parents[4] / "docs/training-data.md").read_text()
    told = " ".join(page.split())
    scales = len({(t.rubric.low, t.rubric.high) for t in POINTWISE})
    assert f"{len(PAIRWISE)} pairwise and {len(POINTWISE)} pointwise wordings" in told
    assert f"templates and {len(POINTWISE)} pointwise ones on {scales} scales" in told
