"""What the browser keeps, and how it forgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from page_server import StandIn
from scripted_critic import REASON

from .conftest import SEVEN, fill, judge

pytestmark = pytest.mark.browser
expect = pytest.importorskip(
    "playwright.sync_api", reason="the package playwright is missing"
).expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_earlier_judgements_come_back_with_their_task(page: Page, stand_in: StandIn) -> None:
    page.set_input_files("#file", SEVEN)
    fill(page, "right", "wrong", question="The first one?")
    judge(page)
    page.click("#remove-picture")
    page.click("#options summary")
    page.select_option("#scale", "1-5")
    fill(page, "only", question="The second one?")
    judge(page)
    page.reload()
    page.locator(".entry").nth(1).wait_for()
    assert page.locator(".entry-question").all_inner_texts() == [
        "The second one?",
        "The first one?",
    ]
    page.locator(".entry").nth(1).click()
    assert page.input_value("#question") == "The first one?"
    assert page.locator("#responses textarea").count() == 2
    assert page.inner_text(".big") == "A is better"
    assert page.inner_text(".reason") == REASON
    expect(page.locator("#preview")).not_to_have_js_property("naturalWidth", 0)
    page.locator(".entry").nth(0).click()
    assert page.input_value("#scale") == "1-5"
    assert page.locator("#options").get_attribute("open") is not None
    assert len(stand_in.asked) == 2  # nothing was judged again


def test_it_is_exported_whole(page: Page, tmp_path: Path) -> None:
    for question in ("one?", "two?"):
        fill(page, "right", "wrong", question=question)
        judge(page)
    page.locator(".entry").nth(1).wait_for()
    with page.expect_download() as download:
        page.click("#export-all")
    download.value.save_as(tmp_path / "all.json")
    found = json.loads((tmp_path / "all.json").read_text())["judgements"]
    assert [judgement["question"] for judgement in found] == ["two?", "one?"]


def test_one_or_all_are_forgotten(page: Page) -> None:
    for question in ("one?", "two?", "three?"):
        fill(page, "right", "wrong", question=question)
        judge(page)
    page.locator(".entry").nth(2).wait_for()
    page.get_by_label("Forget: two?").click()
    expect(page.locator(".entry")).to_have_count(2)
    page.click("#clear")
    page.locator("#history").wait_for(state="hidden")
    page.reload()
    page.locator(".critic").wait_for()
    assert page.locator(".entry").count() == 0


def test_nothing_is_kept_where_nothing_shall_be(page: Page) -> None:
    page.uncheck("#keep")
    fill(page, "right", "wrong")
    judge(page)
    page.reload()
    page.locator(".critic").wait_for()
    assert not page.is_checked("#keep")
    assert page.locator(".entry").count() == 0
