"""A real browser before the page; see CONTRIBUTING.md for what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from page_server import StandIn, page_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SEVEN = Path(__file__).parents[3] / "runtime" / "edgecritic" / "demo_images" / "seven.png"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with page_server(StandIn()) as served:
        yield served


@pytest.fixture
def opened(browser: Browser, stand_in: StandIn) -> Iterator[Callable[..., Page]]:
    """Opens the page; whatever its scripts or its policy complain of fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_page(fragment: str = "", **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if is_ours(said) else None)
        page.goto(stand_in.url + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    """The page with a server that answers."""
    page = opened()
    page.locator(".critic").first.wait_for()
    return page


def is_ours(said: Any) -> bool:
    """Chromium itself reports refused connections and error answers on the console."""
    return said.type in ("error", "warning") and "Failed to load resource" not in said.text


def fill(page: Page, *responses: str, question: str = "Which digit is this?") -> None:
    """Write a task without a picture, with as many responses as are given."""
    fields = page.locator("#responses textarea")
    while fields.count() < len(responses):
        page.click("#add")
    while fields.count() > len(responses):
        page.locator("#responses button").last.click()
    page.fill("#question", question)
    for index, response in enumerate(responses):
        fields.nth(index).fill(response)


def judge(page: Page) -> None:
    """Judge, and wait for the end."""
    page.click("#judge")
    page.locator("#export").wait_for()
