"""Rubrics and tasks: what makes a judgement, and what does not."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import ContextOverflowError, InputError
from edgecritic.task import MAX_TEXT_BYTES, Rubric, Task


@given(
    low=st.integers(0, 50),
    n=st.integers(1, 1000),
    criteria=st.none() | st.text(max_size=9),
    data=st.data(),
)
def test_rubrics_round_trip(low: int, n: int, criteria: str | None, data: st.DataObject) -> None:
    levels = st.dictionaries(st.integers(low, low + n), st.text(max_size=5), max_size=3)
    rubric = Rubric(low, low + n, criteria, data.draw(levels))
    assert Rubric.parse(json.dumps(rubric.to_dict())) == rubric
    assert list(rubric.levels) == sorted(rubric.levels)
    assert len(rubric.range) == n + 1
    for form in ("{}-{}", " {} .. {} ", "{} to {}"):
        assert Rubric.parse(form.format(low, low + n)) == Rubric(low, low + n)


def test_a_rubric_in_part_takes_the_rest_from_1_to_10() -> None:
    assert Rubric.parse('{"criteria": "accuracy"}') == Rubric(1, 10, "accuracy")
    assert Rubric.parse('{"levels": {"1": "wrong"}}').levels == {1: "wrong"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("10-1", "10-1 is not ascending"),
        ("5-5", "not ascending"),
        ("0-1001", "more than 1001 levels"),
        ("1 - five", "neither a range nor JSON"),
        ("nan-10", "neither a range nor JSON"),
        ("[1, 5]", "JSON list, not an object"),
        ('{"low": NaN}', "'NaN' is no finite number"),
        ('{"low": 1e999}', "'1e999' is no finite number"),
        ('{"high": ' + "9" * 400 + "}", "a whole number has 400 digits"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ('{"low": 1, "low": 2}', "the key 'low' appears twice"),
        ('{"levels": {"1": "a", "01": "b"}}', "describes a level twice"),
        ('{"low": 1.5}', "low is 1.5"),
        ('{"high": true}', "high is True"),
        ('{"hihg": 5}', "unknown key 'hihg'"),
        ('{"criteria": 7}', "criteria is 7"),
        ('{"levels": ["wrong"]}', "not a map"),
        ('{"levels": {"1": 2}}', "not a map"),
        ('{"levels": {"one": "wrong"}}', "level 'one' is not a whole number"),
        ('{"levels": {"11": "perfect"}}', "describes level 11"),
    ],
)
def test_wrong_rubrics_are_named(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        Rubric.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("criteria", "levels", "named"),
    [
        (7, {}, "rubric criteria is int, not text"),
        ("\ud800", {}, "rubric criteria holds"),
        (None, {"1": "wrong"}, "rubric level '1' is not a whole number"),
        (None, {1: None}, "the rubric's level 1 is NoneType"),
        ("x" * (MAX_TEXT_BYTES + 1), {}, "rubric criteria has 1,048,577 bytes"),
        (None, {1: "x" * (MAX_TEXT_BYTES + 1)}, "the rubric's level 1 has 1,048,577 bytes"),
    ],
)
def test_wrong_descriptions_are_named(criteria: Any, levels: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Rubric(1, 5, criteria, levels)


@pytest.mark.parametrize(
    ("question", "responses", "reference"),
    [
        ("é" * (MAX_TEXT_BYTES // 2 + 1), ("a",), None),
        ("q", ("a" * 2**21,), None),
        ("q", ("a",), "r" * 2**21),
    ],
)
def test_texts_that_no_context_holds_are_not_even_tokenized(
    question: str, responses: tuple[str, ...], reference: str | None
) -> None:
    with pytest.raises(ContextOverflowError, match="more than any critic reads"):
        Task(question, responses, reference=reference)


def test_rubrics_go_to_other_processes() -> None:
    rubric = Rubric(1, 5, "be strict", {5: "right", 1: "wrong"})
    assert pickle.loads(pickle.dumps(rubric)) == copy.deepcopy(rubric) == rubric


def test_a_negative_range() -> None:
    with pytest.raises(InputError, match="-1-5 is not ascending from zero"):
        Rubric(-1, 5)


def test_swapping_twice_changes_nothing() -> None:
    task = Task("q?", ("a", "b"), 1, "ref", Rubric(1, 5))
    assert task.swapped().responses == ("b", "a")
    assert task.swapped().swapped() == task


@pytest.mark.parametrize("key", [1.7, float("inf"), None, True, "1_0", "9" * 5000])
def test_levels_are_named_by_whole_numbers(key: Any) -> None:
    with pytest.raises(InputError, match="is not a whole number"):
        Rubric.from_dict({"levels": {key: "what it means"}})


def test_unknown_keys_of_several_types() -> None:
    with pytest.raises(InputError, match="unknown key 1"):
        Rubric.from_dict({"low": 1, "high": 5, 1: 2, "a": 3})
