"""Training shows what the runtime asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecritic.errors import InputError
from edgecritic.prompts import load_dialect, render
from edgecritic.task import Rubric
from edgecritic_train.critic_data.rendering import render_row

DIALECT = load_dialect()


def test_the_prompt_is_the_runtime_s_own(pair):
    row = replace(pair, wording=2, reference="Three", rubric=Rubric(criteria="count"))
    assert render_row(row, DIALECT).prompt == render(row.task, DIALECT, 2)


def test_the_answer_states_the_verdict_and_then_the_reason(pair):
    rendered = render_row(pair, DIALECT)
    assert rendered.answer == "Better: second\nReason: There are three cats."
    assert rendered.verdict == rendered.prompt.answers[rendered.outcome]
    start, end = rendered.label
    assert rendered.verdict[start:end] == "second"
    assert rendered.reason == " There are three cats."
    assert rendered.ends


def test_a_level_is_found_among_the_rubric_s(pair):
    row = replace(
        pair, setting="pointwise", responses=("x",), verdict=70, rubric=Rubric(0, 100), reason="R."
    )
    rendered = render_row(row, DIALECT)
    assert rendered.prompt.outcomes[rendered.outcome] == 70
    start, end = rendered.label
    assert rendered.verdict[start:end] == "70"


def test_without_a_reason_the_answer_breaks_off_where_it_would_begin(pair):
    rendered = render_row(replace(pair, reason=" "), DIALECT)
    assert (rendered.answer, rendered.ends) == ("Better: second\nReason:", False)


def test_no_empty_line_is_taught_where_the_runtime_would_stop(pair):
    rendered = render_row(replace(pair, reason="One.\n \n\nTwo.\nThree.\n"), DIALECT)
    assert rendered.reason == " One.\nTwo.\nThree."


def test_a_dialect_that_reasons_first_has_the_verdict_last(pair):
    dialect = replace(DIALECT, reason_first=True)
    rendered = render_row(pair, dialect)
    assert [piece.part for piece in rendered.taught] == ["reason", "verdict"]
    assert rendered.taught[0].text == "There are three cats."
    with pytest.raises(InputError, match="there is no reason"):
        render_row(replace(pair, reason=""), dialect)
