"""Hostile text, a server that goes away, tokens, and what the page may load."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from page_server import PAGE, StandIn, page_server
from scripted_critic import scripted_critic

from .conftest import SEVEN, fill, judge

pytestmark = pytest.mark.browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = '</p><img src=x onerror="alert(1)"><script>alert(2)</script>{{7*7}}\u202ekcatta'
MAX_BYTES = 150_000


def test_hostile_text_is_shown_as_text(page: Page, stand_in: StandIn) -> None:
    stand_in.critics = {"critic<img src=y>": scripted_critic(HOSTILE)}
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    page.reload()
    page.locator(".critic").wait_for()
    page.set_input_files(
        "#file",
        {"name": "<b>x</b>.png", "mimeType": "image/png", "buffer": SEVEN.read_bytes()},
    )
    fill(page, "right" + HOSTILE, HOSTILE, "c", question=HOSTILE)
    judge(page)
    assert page.text_content(".ranking li:first-child .said") == "right" + HOSTILE
    page.check("input[value=score]")
    judge(page)
    assert page.text_content(".reason") == HOSTILE
    assert page.text_content(".entry-question") == HOSTILE
    assert page.inner_text("#picture-name").startswith("<b>x</b>.png, ")
    injected = page.evaluate(
        "() => document.querySelectorAll('img[src=x], img[src=y], b b').length"
    )
    assert injected == 0
    assert page.locator("body script").count() == 0
    assert dialogs == []


def test_a_server_that_goes_away_is_said_and_comes_back(
    opened: Callable[..., Page], stand_in: StandIn
) -> None:
    served = StandIn()
    with page_server(served):
        stand_in.url = served.url
        page = opened()
        page.locator(".critic").wait_for()
        fill(page, "right", "wrong")
    page.click("#judge")
    page.locator(".failure").wait_for()
    assert "does not answer" in page.inner_text(".failure")
    page.locator("#server[data-state=gone]").wait_for()
    assert "edgecritic serve" in page.inner_text("#server")
    assert page.locator("#judge").is_visible()
    with page_server(served, int(served.url.rpartition(":")[2])):
        page.locator("#server[data-state=ready]").wait_for()
        judge(page)
        assert page.inner_text(".big") == "A is better"


def test_a_connection_that_breaks_in_the_middle_is_said(page: Page, stand_in: StandIn) -> None:
    def broken(kind: str, body: Any) -> Any:
        yield from list(StandIn.judgement(stand_in, kind, body))[:3]
        raise OSError

    stand_in.judgement = broken
    fill(page, "right", "wrong")
    judge(page)
    assert "the stream ended before the result" in page.inner_text(".failure")


def test_the_token_of_the_address_is_sent_and_taken_out_of_it(
    opened: Callable[..., Page], stand_in: StandIn
) -> None:
    stand_in.token = "s3cret"
    page = opened("/#token=s3cret")
    page.locator(".critic").wait_for()
    assert "token" not in page.url
    page.reload()
    page.locator(".critic").wait_for()
    stranger = opened()
    stranger.locator("#server[data-state=gone]").wait_for()
    assert "wants a token" in stranger.inner_text("#server")


def test_nothing_is_fetched_from_elsewhere(opened: Callable[..., Page], stand_in: StandIn) -> None:
    page = opened()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator(".critic").wait_for()
    assert all(url.startswith((stand_in.url, "blob:")) for url in asked)


def test_the_page_is_small_and_holds_no_inline_code() -> None:
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)|https?://", html)
    for path in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", path.read_text()
        ), path.name
