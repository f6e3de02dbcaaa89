"""Cards say what a judgement says, within the width, in ASCII where that is all there is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.cli import cards
from edgecritic.cli.terminal import Style, display_width
from edgecritic.verdict import OrderVerdict, Preference, Ranking, Status, Timings, Usage, Verdict

PLAIN = Style(width=72)
VERDICT = Verdict(
    status="ok",
    score=8.6,
    level=9,
    probabilities=dict.fromkeys(range(1, 7), 0.0) | {7: 0.1, 8: 0.2, 9: 0.6, 10: 0.1},
    confidence=0.6,
    mass=0.99,
    rationale="The stroke has a bar on top and no loop, which makes it a seven and not a one.",
    usage=Usage(200, 100, 200, 20),
    timings=Timings(0.1, 0.2, 0.3),
    critic="tiny-1",
)
PREFERENCE = Preference(
    status="ok",
    winner="first",
    probabilities={"first": 0.8, "second": 0.15, "tie": 0.05},
    confidence=0.8,
    consistent=True,
    orders=(
        OrderVerdict("first", "first", {"first": 0.9, "second": 0.05, "tie": 0.05}, 1.0),
        OrderVerdict("second", "first", {"first": 0.7, "second": 0.25, "tie": 0.05}, 1.0),
    ),
    rationale="It names the digit.",
    critic="tiny-1",
)


def test_a_verdict_card_in_plain_ascii() -> None:
    assert cards.verdict_card(VERDICT, PLAIN).splitlines() == [
        "  score     8.6  on 1 to 10, most likely 9 (60%)",
        "            7      ##......................  10%",
        "            8      #####...................  20%",
        "            9      ##############..........  60%",
        "            10     ##......................  10%",
        "  reason    The stroke has a bar on top and no loop, which makes it a",
        "            seven and not a one.",
        "            200 tokens read (100 of pictures), 20 written, 0.60 s,",
        "            tiny-1",
    ]


def test_a_preference_card_in_plain_ascii() -> None:
    assert cards.preference_card(PREFERENCE, PLAIN).splitlines() == [
        "  better    first  (80%), both orders agree",
        "            first  ###################.....  80%",
        "            second ####....................  15%",
        "            tie    #.......................   5%",
        "            as given: first 90%, second 5%, tie 5%",
        "            swapped: first 70%, second 25%, tie 5%",
        "  reason    It names the digit.",
        "            0 tokens read (0 of pictures), 0.00 s, tiny-1",
    ]


@pytest.mark.parametrize(
    ("consistent", "said"),
    [(True, "both orders agree"), (False, "the orders disagree"), (None, "one order only")],
)
def test_a_preference_says_whether_the_orders_agree(consistent: bool | None, said: str) -> None:
    assert said in cards.preference_card(replace(PREFERENCE, consistent=consistent), PLAIN)


def test_a_wide_scale_shows_its_likeliest_levels_and_the_rest() -> None:
    probabilities = dict.fromkeys(range(101), 1 / 101)
    verdict = replace(VERDICT, score=50.0, level=0, confidence=1 / 101, probabilities=probabilities)
    lines = cards.verdict_head(verdict, PLAIN)
    assert len(lines) == 1 + 6 + 1
    assert re.search(r"others .* 94%", lines[-1])


@pytest.mark.parametrize("status", ["unparsed", "cancelled"])
def test_no_verdict_is_no_score(status: Status) -> None:
    verdict = Verdict(status, None, None, {}, None, 0.12)
    preference = Preference(status, None, {}, None, None, ())
    for card in (cards.verdict_card(verdict, PLAIN), cards.preference_card(preference, PLAIN)):
        assert f"verdict   {status}:" in card
        assert "score" not in card


def test_a_ranking_names_the_responses_best_first() -> None:
    ranking = Ranking("ok", (1, 0), (-1.5, 1.5))
    assert cards.ranking_card(ranking, ["a one", ""], PLAIN).splitlines() == [
        "    1.  +1.50  response 2  (empty)",
        "    2.  -1.50  response 1  a one",
        "            0 tokens read (0 of pictures), 0.00 s",
    ]


def test_an_order_says_how_sure_it_is_and_where_it_contradicts_itself() -> None:
    order = Ranking("ok", (2, 0, 1), (0.5, -1.0, 0.5), cycles=((0, 1, 2),), judgements=4)
    sure = replace(order, confidence=0.9)
    card = cards.ranking_card(sure, ["a", "b", "c"], PLAIN).splitlines()
    assert card[3:5] == [
        "  order     4 of 6 ordered pairs judged, 90% sure",
        "  cycle     response 1 beats 2 beats 3 beats 1",
    ]


def test_a_corrected_score_has_its_interval_and_less_detail_is_told() -> None:
    verdict = replace(VERDICT, interval=(7.25, 9.5), detail="reduced")
    card = cards.verdict_card(verdict, PLAIN)
    assert "  interval  7.2 to 9.5" in card
    assert "a cap took detail from the picture" in " ".join(card.split())


def test_a_ranking_that_could_not_be_made_says_so() -> None:
    assert "unparsed" in cards.ranking_card(Ranking("unparsed", (0, 1), (None, 1.0)), "ab", PLAIN)


@given(st.text(), st.text(), st.integers(48, 100), st.booleans())
def test_cards_keep_their_width_whatever_the_text(
    question: str, reason: str, width: int, unicode: bool
) -> None:
    style = Style(width=width, unicode=unicode)
    card = [
        cards.heading(question, style),
        *cards.task_lines(["picture.png"], question, {"response": reason}, style),
        *cards.preference_head(PREFERENCE, style),
        cards.field("reason", reason, style),
    ]
    assert all(display_width(line) <= width for text in card for line in text.split("\n"))


def test_a_long_response_is_cut_on_the_card() -> None:
    _, response = cards.task_lines([], "q", {"response": "word " * 40_000}, PLAIN)
    assert len(response.split("\n")) <= 5
    assert response.endswith("...")


def test_colours_do_not_change_the_words() -> None:
    painted = cards.verdict_card(VERDICT, replace(PLAIN, colour=True))
    assert "\x1b[" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == cards.verdict_card(VERDICT, PLAIN)
