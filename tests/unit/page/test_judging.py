"""From a question to a verdict on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecritic.backends.scripted import Script
from page_server import StandIn
from scripted_critic import REASON, scripted_critic

from .conftest import SEVEN, fill, judge

pytestmark = pytest.mark.browser

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_one_response_is_scored(page: Page, stand_in: StandIn) -> None:
    fill(page, "It is right.")
    assert page.inner_text("#judge") == "Score"
    judge(page)
    assert page.inner_text(".big").startswith("9.0 / 10")
    assert page.locator(".level").count() == 10
    assert "9: 100.0%" in str(page.get_attribute(".levels", "aria-label"))
    assert page.inner_text(".reason") == REASON
    assert "written" in page.inner_text(".cost")
    assert stand_in.asked[0]["response"] == "It is right."


def test_two_responses_are_compared_in_both_orders(page: Page, stand_in: StandIn) -> None:
    page.set_input_files("#file", SEVEN)
    fill(page, "It is right.", "It is a 1.")
    judge(page)
    assert page.inner_text(".big") == "A is better"
    assert page.inner_text(".winner") == "It is right."
    assert [row.split("\n")[0] for row in page.locator(".bar").all_inner_texts()] == [
        "A",
        "Tie",
        "B",
    ]
    assert page.inner_text(".bar.chosen .number") == "99.9%"
    assert page.inner_text(".chip") == "Both orders agree"
    assert page.locator(".orders li").all_inner_texts() == ["A shown first", "B shown first"]
    assert page.inner_text(".reason") == REASON
    (asked,) = stand_in.asked
    assert asked["image"].startswith("data:image/png;base64,")
    assert (asked["first"], asked["second"]) == ("It is right.", "It is a 1.")
    assert (asked["reference"], asked["rubric"]) == (None, None)


def test_swapping_changes_the_places_and_the_verdict(page: Page) -> None:
    fill(page, "right", "wrong")
    page.click("#swap")
    judge(page)
    assert page.inner_text(".big") == "B is better"


def test_a_bias_for_a_position_is_shown(page: Page, stand_in: StandIn) -> None:
    def for_the_first(script: Script) -> Script:
        """Whatever stands first is preferred."""
        return lambda history: (
            {ord("f"): 9.0, ord("s"): 1.0, ord("t"): 1.0}
            if history[-1] == ord(" ")
            else script(history)
        )

    stand_in.critics["critic-Q8_0"] = scripted_critic(around=for_the_first)
    fill(page, "one", "other")
    judge(page)
    assert page.inner_text(".chip") == "The verdict changes with the order"


@pytest.mark.parametrize("count", [3, 8])
def test_more_responses_are_ranked(page: Page, count: int) -> None:
    fill(page, *["wrong"] * (count - 1), "right")
    assert page.inner_text("#judge") == "Rank"
    assert page.locator("#add").is_visible() == (count < 8)
    judge(page)
    best = "ABCDEFGH"[count - 1]
    assert page.inner_text(".big") == f"{best} is best"
    assert page.locator(".ranking .badge").all_inner_texts()[0] == best
    page.click(".pairs summary")
    rows = page.locator(".pairs tbody tr")
    assert rows.count() == count
    assert rows.first.locator("td").all_inner_texts()[1:] == ["99.9%"] * (count - 1)


def test_scoring_each_can_be_forced(page: Page, stand_in: StandIn) -> None:
    fill(page, "right", "wrong", "right again")
    page.check("input[value=score]")
    assert page.inner_text("#judge") == "Score each"
    judge(page)
    assert [text[:3] for text in page.locator(".big").all_inner_texts()] == ["9.0", "2.0", "9.0"]
    assert page.locator(".about").first.inner_text() == "A: right"
    assert [body["response"] for body in stand_in.asked] == ["right", "wrong", "right again"]


def test_reference_rubric_and_reason_are_asked_for(page: Page, stand_in: StandIn) -> None:
    fill(page, "right")
    page.click("#options summary")
    page.fill("#reference", "It is a 7.")
    page.select_option("#scale", "other")
    page.fill("#low", "2")
    page.fill("#high", "9")
    page.fill("#criteria", "Be strict.")
    page.uncheck("#rationale")
    judge(page)
    (asked,) = stand_in.asked
    assert asked["reference"] == "It is a 7."
    assert asked["rubric"] == {"low": 2, "high": 9, "criteria": "Be strict."}
    assert asked["rationale"] is False
    assert page.locator(".level").count() == 8
    assert not page.locator(".reason").is_visible()


def test_a_scale_that_does_not_go_up_is_not_sent(page: Page, stand_in: StandIn) -> None:
    fill(page, "right")
    page.click("#options summary")
    page.select_option("#scale", "other")
    page.fill("#low", "5")
    page.click("#judge")
    assert "must go up" in page.inner_text("#complaint")
    assert stand_in.asked == []


def test_the_reason_streams_in_behind_the_verdict(page: Page, stand_in: StandIn) -> None:
    stand_in.go_on.clear()
    fill(page, "right", "wrong")
    page.click("#judge")
    page.locator(".big").wait_for()
    assert page.inner_text(".stage") == "Writing the reason"
    assert not page.locator(".reason").is_visible()
    stand_in.go_on.set()
    page.locator("#export").wait_for()
    assert page.inner_text(".reason") == REASON
    assert not page.locator(".stage").is_visible()


@pytest.mark.parametrize("how", ["button", "key"])
def test_cancelling_keeps_what_is_known_and_tells_the_server(
    page: Page, stand_in: StandIn, how: str
) -> None:
    stand_in.go_on.clear()
    fill(page, "right", "wrong")
    page.focus("#judge")
    page.keyboard.press("Enter")
    page.locator(".big").wait_for()
    assert page.evaluate("document.activeElement.id") == "cancel"
    if how == "button":
        page.click("#cancel")
    else:
        page.keyboard.press("Escape")
    page.locator("#judge").wait_for()
    assert page.inner_text(".stage") == "Stopped"
    assert page.inner_text(".big") == "A is better"
    assert page.evaluate("document.activeElement.id") == "judge"
    assert stand_in.broken_off.wait(60)


def test_several_critics_stand_side_by_side(page: Page, stand_in: StandIn) -> None:
    stand_in.critics["critic-Q4_K_M"] = scripted_critic("it is <b>so</b>")
    page.reload()
    page.locator(".critic").nth(1).wait_for()
    fill(page, "right", "wrong")
    page.locator(".critic input").nth(1).check()
    judge(page)
    assert page.locator(".column h3").all_inner_texts() == ["critic-Q8_0", "critic-Q4_K_M"]
    assert page.locator(".reason").all_inner_texts() == [REASON, "it is <b>so</b>"]
    assert page.inner_text("#summary") == "Both critics agree: A is better"
    tops = [column.bounding_box()["y"] for column in page.locator(".column").all()]
    assert tops[0] == tops[1]
    assert [body["model"] for body in stand_in.asked] == ["critic-Q8_0", "critic-Q4_K_M"]


def test_what_the_server_refuses_is_said_with_its_hint(page: Page) -> None:
    page.set_input_files(
        "#file", {"name": "broken.png", "mimeType": "image/png", "buffer": SEVEN.read_bytes()}
    )
    fill(page, "x" * 30_000)
    judge(page)
    assert page.inner_text(".failure h4") == "Not judged"
    assert "tokens" in page.inner_text(".failure")


def test_an_empty_question_is_not_sent(page: Page, stand_in: StandIn) -> None:
    page.click("#judge")
    assert "Write the question" in page.inner_text("#complaint")
    assert page.evaluate("document.activeElement.id") == "question"
    assert stand_in.asked == []


def test_the_keyboard_is_enough(page: Page) -> None:
    page.focus("#question")
    page.keyboard.type("Which?")
    page.keyboard.press("Tab")
    page.keyboard.type("right")
    page.keyboard.press("Tab")  # the button that removes it
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Control+Enter")
    page.locator("#export").wait_for()
    assert page.inner_text(".big") == "A is better"
    assert page.text_content("#announce") == "A is better"


def test_the_example_is_judged_at_once(page: Page, stand_in: StandIn) -> None:
    page.click("#example")
    page.locator("#export").wait_for()
    assert stand_in.asked[0]["image"].startswith("data:image/png")
    assert page.inner_text(".big") == "A tie"  # neither is what the scripted critic likes


def test_a_judgement_is_exported(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#file", SEVEN)
    fill(page, "right", "wrong")
    judge(page)
    with page.expect_download() as download:
        page.click("#export")
    file = tmp_path / "out.json"
    download.value.save_as(file)
    found = json.loads(file.read_text())
    assert download.value.suggested_filename.startswith("edgecritic-")
    assert found["question"] == "Which digit is this?"
    assert found["image"]["name"] == "seven.png"
    assert len(found["image"]["sha256"]) == 64
    (outcome,) = found["outcomes"]
    assert outcome["critic"]["id"] == "critic-Q8_0"
    assert outcome["results"][0]["winner"] == "first"
    assert outcome["results"][0]["rationale"].strip() == REASON
