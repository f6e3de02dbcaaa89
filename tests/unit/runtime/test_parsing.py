"""Generated text states a verdict plainly, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.parsing import parse_level, parse_winner
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric

TEN = Rubric(1, 10)


@given(low=st.integers(0, 500), n=st.integers(1, 500), data=st.data())
def test_what_the_dialect_states_is_read_back(low: int, n: int, data: st.DataObject) -> None:
    rubric = Rubric(low, low + n)
    level = data.draw(st.sampled_from(rubric.range))
    answers = load_dialect().answers["pointwise"]
    assert parse_level(answers.stated(str(level)), rubric) == level
    reason = data.draw(st.text("abc .\n", max_size=20))
    assert parse_level(answers.stated(str(level)) + " " + reason, rubric) == level


def test_what_the_dialect_states_of_pairs_is_read_back() -> None:
    dialect = load_dialect()
    for winner, label in dialect.labels.items():
        stated = dialect.answers["pairwise"].stated(label)
        assert parse_winner(stated + " it fits.", dialect.labels) == winner


@given(level=st.integers(-5, 200))
def test_levels_outside_the_range_are_none(level: int) -> None:
    for form in ("Score: {}", "[[{}]]", "{}", "{}/10", "rating is {}."):
        assert parse_level(form.format(level), TEN) == (level if level in TEN.range else None)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Score: 7/10", 7),
        ("**Score:** 7", 7),
        ("The score is 7, since it is right.", 7),
        ("I give it 7 out of 10.", 7),
        ("Score: 7\nSo 7/10 it is.", 7),
        ("Score: 7. Once more: Score: 7", 7),
        ("Rating: [[3]]", 3),
        (" 7. ", 7),
        ("It counts 3 apples. Score: 7", 7),
        ("Score: 7\nScore: 8", None),
        ("Score: 7 or 8", None),
        ("Score: 7-8", None),
        ("Score 1-10: 7", None),
        ("Score: 7.5", None),
        ("Score: 7.5%", None),
        ("Score: 70%", None),
        ("Score: 7/5", None),
        ("Score: 7/10/12", None),
        ("Score: 3.5/10", None),
        ("Score: -7", None),
        ("Score: 7th", None),
        ("Score: " + "9" * 5000, None),
        ("7/" + "9" * 5000, None),
        ("Score for the response: good", None),
        ("There are 7 apples.", None),
        ("", None),
        ("Score: \u0667", None),
    ],
)
def test_levels(text: str, level: int | None) -> None:
    assert parse_level(text, TEN) == level


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("Better: first", "first"),
        ("better is SECOND.", "second"),
        ("Winner: tie", "tie"),
        ("First", "first"),
        ("[[A]]", "first"),
        ("My verdict is [[B]]", "second"),
        ("[[C]]", "tie"),
        ("[[tie]]", "tie"),
        ("[[A>B]]", "first"),
        ("[[A >> B]]", "first"),
        ("[[B>A]]", "second"),
        ("[[A<B]]", "second"),
        ("[[A=B]]", "tie"),
        ("[[A>A]]", None),
        ("[[A]] or [[B]]", None),
        ("Better: first or second", None),
        ("Better: first. Better: second.", None),
        ("Better: firstly", None),
        ("Better: \u017fecond", None),
        ("The first one is nice.", None),
        ("", None),
    ],
)
def test_winners(text: str, winner: str | None) -> None:
    assert parse_winner(text) == winner


def test_other_labels() -> None:
    labels = {"first": "A", "second": "B", "tie": "neither"}
    assert parse_winner("Better: B", labels) == "second"
    assert parse_winner("Better: Neither", labels) == "tie"
    assert parse_winner("Better: first", labels) is None


@given(st.text("Sscore:7/10 [[AB<>=]]better first.,-\n") | st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    assert parse_level(text, TEN) in {None, *TEN.range}
    assert parse_winner(text) in {None, "first", "second", "tie"}
