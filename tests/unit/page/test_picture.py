"""How a picture comes onto the page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from page_server import StandIn

from .conftest import SEVEN, fill, judge

pytestmark = pytest.mark.browser
expect = pytest.importorskip(
    "playwright.sync_api", reason="the package playwright is missing"
).expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEND = """([type, name, kind, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: kind }));
  const event = type === 'paste'
    ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById('drop').dispatchEvent(event);
}"""


def send(page: Page, how: str, name: str, kind: str, content: bytes) -> None:
    page.evaluate(SEND, [how, name, kind, base64.b64encode(content).decode()])


def shown(page: Page) -> bool:
    return bool(page.evaluate("() => document.getElementById('preview').naturalWidth > 0"))


def test_by_drop(page: Page, stand_in: StandIn) -> None:
    send(page, "drop", "seven.png", "image/png", SEVEN.read_bytes())
    expect(page.locator("#preview")).not_to_have_js_property("naturalWidth", 0)
    assert page.inner_text("#picture-name").startswith("seven.png, ")
    fill(page, "right", "wrong")
    judge(page)
    sent = stand_in.asked[0]["image"].partition(",")[2]
    assert base64.b64decode(sent) == SEVEN.read_bytes()


def test_by_paste(page: Page) -> None:
    send(page, "paste", "", "image/png", SEVEN.read_bytes())
    expect(page.locator("#preview")).not_to_have_js_property("naturalWidth", 0)
    assert page.inner_text("#picture-name").startswith("a pasted picture, ")


def test_by_choice_and_away_again(page: Page, stand_in: StandIn) -> None:
    page.set_input_files("#file", SEVEN)
    expect(page.locator("#preview")).not_to_have_js_property("naturalWidth", 0)
    page.click("#remove-picture")
    assert page.locator("#invitation").is_visible()
    assert not page.locator("#preview").is_visible()
    fill(page, "right", "wrong")
    judge(page)
    assert stand_in.asked[0]["image"] is None


def test_what_is_no_picture_is_refused(page: Page) -> None:
    send(page, "drop", "notes.txt", "text/plain", b"words")
    assert page.inner_text("#complaint") == "notes.txt is no picture"
    send(page, "drop", "broken.png", "image/png", b"words")
    expect(page.locator("#complaint")).to_contain_text("broken")
    assert not shown(page)


def test_what_is_too_large_is_refused_before_it_is_sent(page: Page) -> None:
    page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(20 * 2 ** 20 + 1)], 'l.png', { type: 'image/png' }));
      document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
    }""")
    assert "21.0 MB" in page.inner_text("#complaint")
