"""Tokens with log-probabilities to readings of the outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic import Rubric
from edgecritic.prompts import load_dialect, render
from edgecritic.remote.asking import Asked, Asker
from edgecritic.remote.calls import Line
from edgecritic.remote.endpoint import Question
from edgecritic.remote.forms import Form
from edgecritic.remote.options import RemoteOptions
from edgecritic.remote.reply import Reply, Token
from edgecritic.remote.verdicts import Reading, follow, read
from edgecritic.task import Task

DIALECT = load_dialect()
Odds = Mapping[str, float]


def form(rubric: Rubric | None = None, *, pairwise: bool = False) -> Form:
    rubric = rubric or Rubric()
    task = Task("What?", ("a", "b") if pairwise else ("a",), rubric=rubric)
    return Form.of(render(task, DIALECT), DIALECT, rubric)


def tokens(*odds: Odds) -> tuple[Token, ...]:
    """Each token is the likeliest of its place."""
    return tuple(
        Token(max(o, key=o.__getitem__), {text: math.log(p) for text, p in o.items()}) for o in odds
    )


def reply(*odds: Odds) -> Reply:
    made = tokens(*odds)
    return Reply("".join(token.text for token in made), made)


def shares(reading: Reading, form_: Form) -> dict[str, float]:
    found = zip(form_.labels, np.exp(reading.joint), strict=True)
    return {label: pytest.approx(float(p)) for label, p in found if p > 0}


@pytest.mark.parametrize(
    ("begun", "odds"),
    [
        ("Score: ", [{"7": 0.6, "8": 0.3}]),
        ("Score:", [{" 7": 0.6, " 8": 0.3}]),
        ("Score:", [{" ": 0.5, "?": 0.4}, {"7": 0.6, "8": 0.3}]),  # what leads up to it is given
        ("", [{"Score": 0.5}, {":": 0.9}, {" ": 1.0}, {"7": 0.6, "8": 0.3}]),
        ("", [{"Score": 0.5}, {": ": 0.9}, {"7": 0.6, "8": 0.3}]),
        ("", [{"**": 1.0}, {"Score:**": 1.0}, {" ": 1.0}, {"7": 0.6, "8": 0.3}]),
        ("", [{"**Score**": 1.0}, {":": 1.0}, {" **": 1.0}, {"7": 0.6, "8": 0.3}]),
        ("", [{"Sure!\n\n": 1.0}, {"score:": 1.0}, {"7": 0.6, "8": 0.3}]),
        ("", [{"<think>Score: 3": 1.0}, {"</think>": 1.0}, {"Score: ": 1.0}, {"7": 0.6, "8": 0.3}]),
        ("Score: ", [{"Score": 1.0}, {":": 1.0}, {" 7": 0.6, " 8": 0.3}]),  # a turn of its own
    ],
)
def test_the_verdict_is_found_by_its_text(begun: str, odds: Sequence[Odds]) -> None:
    found = read(reply(*odds, {"\n": 1.0}), begun, form())
    assert found.basis == "top_logprobs"
    assert shares(found, form()) == {"7": 0.6, "8": 0.3}


@pytest.mark.parametrize(
    "odds",
    [
        [{" first": 0.6, " second": 0.3, " tie": 0.1}],
        [{" First": 0.6, " SECOND": 0.3, " Tie": 0.1}],
        [{" fir": 0.6, " s": 0.3, " ti": 0.1}, {"st": 1.0}],
        [{" **first": 0.5, " first": 0.1, " second": 0.3, " tie": 0.1}, {"**": 1.0}],
    ],
)
def test_words_may_come_in_parts(odds: Sequence[Odds]) -> None:
    found = read(reply(*odds, {"\n": 1.0}), "Better:", form(pairwise=True))
    assert shares(found, form(pairwise=True)) == {"first": 0.6, "second": 0.3, "tie": 0.1}


def test_words_that_only_begin_like_a_label_do_not_count() -> None:
    odds = {" firstly": 0.2, " first": 0.7, " tied": 0.1}
    found = read(reply(odds, {"\n": 1.0}), "Better:", form(pairwise=True))
    assert shares(found, form(pairwise=True)) == {"first": 0.7}


def test_ten_as_one_token_tells_that_one_is_one() -> None:
    found = read(reply({"9": 0.5, "1": 0.2, "10": 0.3}), "Score: ", form())
    assert shares(found, form()) == {"9": 0.5, "1": 0.2, "10": 0.3}
    assert found.beginnings == ()


@pytest.mark.parametrize("end", ["\n", "", "<|im_end|>", ".", " out"])
def test_on_the_generated_way_ten_is_told_from_one(end: str) -> None:
    found = read(reply({"1": 0.8, "7": 0.2}, {"0": 0.6, end: 0.4}), "Score: ", form())
    assert shares(found, form()) == {"1": 0.32, "10": 0.48, "7": 0.2}


def test_an_answer_that_ends_with_a_beginning_stays_open() -> None:
    found = read(reply({"1": 0.8, "7": 0.2}), "Score: ", form())
    assert shares(found, form()) == {"7": 0.2}
    assert [b.text for b in found.beginnings] == ["Score: 1"]
    settled = found.settled()  # the text is all there is
    assert settled.basis == "text"
    assert shares(settled, form()) == {"1": 1.0}


def test_what_is_not_listed_has_a_ceiling() -> None:
    found = read(reply({"7": 0.6, "8": 0.3, "x": 0.05}), "Score: ", form())
    assert math.exp(found.ceiling) == pytest.approx(0.05)
    found = read(reply({"7": 0.6, "8": 0.3, "x": 0.09}), "Score: ", form())
    assert math.exp(found.ceiling) == pytest.approx(0.01)
    whole = read(reply({"7": 0.75, "8": 0.25}), "Score: ", form())
    assert math.exp(whole.ceiling) == 0.0


@pytest.mark.parametrize("text", ["Better: first", "Score: 11", "Score: high", "", "7 or 8"])
def test_without_tokens_or_verdict_nothing_is_read(text: str) -> None:
    found = read(Reply(text), "", form())
    assert (found.basis, found.mass, found.stated) == ("text", 0.0, None)


@pytest.mark.parametrize(
    ("text", "begun", "level"),
    [
        ("Score: 7\nReason: better than 3", "", 7),
        (" 7\nReason: Score: 3", "Score:", 7),
        ("Score: 7", "Score: ", 7),  # the beginning is repeated in the text
        ("7", "Score: ", 7),
        ("<think>Score: 3</think>\nScore: 7", "", 7),
        ("**Score:** 7/10", "", 7),
        ("I would say [[7]]", "", 7),
    ],
)
def test_texts_state_verdicts(text: str, begun: str, level: int) -> None:
    assert read(Reply(text), begun, form()).stated == level - 1


@pytest.mark.parametrize(
    ("text", "stated"),
    [("Better: second\nReason: x", 1), ("[[A]]", 0), ("tie", 2), ("<think>Better: first", None)],
)
def test_texts_state_winners(text: str, stated: int | None) -> None:
    assert read(Reply(text), "", form(pairwise=True)).stated == stated


def test_a_second_look_without_tokens_loses_the_beginning() -> None:
    found = read(reply({"7": 0.6, "1": 0.4}, {"\n": 1.0}), "Score: ", form())
    (beginning,) = found.beginnings
    assert follow((), beginning.text, form(), beginning.log_prob) is None
    assert found.deepened(beginning, None).beginnings == ()


class Digits:
    """An endpoint whose model spells numbers digit by digit, as Qwen's tokenizer makes it."""

    def __init__(self, nodes: Mapping[str, Odds]) -> None:
        self.nodes = nodes

    def continues(self, _line: Line) -> bool:
        return True

    def ask(self, question: Question, _line: Line) -> Reply:
        said, made = question.begun.removeprefix("Score: "), []
        for _ in range(question.max_tokens):
            odds = self.nodes.get(said)
            if odds is None:
                break
            made += tokens(odds)
            said += made[-1].text
        return Reply("".join(token.text for token in made), tuple(made))


@st.composite
def number_models(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    """For each beginning of a number up to 100 the odds of the next digit and of the end."""
    nodes = {}
    for node in ("", *map(str, range(1, 10)), "10"):
        after = "0123456789" if node != "10" else "0"
        texts = [*after, "\n"] if node else list(after)
        weights = [draw(st.floats(0.01, 1.0)) for _ in texts]
        nodes[node] = {t: w / sum(weights) for t, w in zip(texts, weights, strict=True)}
    return nodes


@settings(max_examples=25, deadline=None)
@given(number_models())
def test_second_looks_make_joint_probabilities_exact(nodes: dict[str, dict[str, float]]) -> None:
    rubric = Rubric(0, 100)
    task = Task("What?", ("a",), rubric=rubric)
    asker = Asker(Digits(nodes), DIALECT, RemoteOptions())
    asked: list[Asked] = asker.lay([task], [], 0, None)
    (reading,), _usage = asker.read(asked, None)

    def probability(level: int) -> float:
        label = str(level)
        steps = [nodes[label[:k]][label[k]] for k in range(len(label))]
        # "0", "57" and "100" need no end: no other level goes on from there.
        return math.prod(steps) * (nodes[label]["\n"] if label in nodes else 1.0)

    expected = [probability(level) for level in rubric.range]
    # A beginning below 1e-4 is not worth a second look.
    assert np.exp(reading.joint) == pytest.approx(expected, abs=1e-4)
    assert all(beginning.log_prob < math.log(1e-4) for beginning in reading.beginnings)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=6), st.text(max_size=12))
def test_no_tokens_break_the_reading(texts: list[str], begun: str) -> None:
    odds = {text: 0.9 / len(texts) for text in texts}
    for form_ in (form(), form(pairwise=True)):
        found = read(reply(odds, odds, odds), begun, form_)
        assert found.mass <= 1 + 1e-9
        assert not np.isnan(found.joint).any()
