"""The report in a real browser: nothing is fetched, nothing sticks out, and it prints.

``UPDATE_SCREENSHOTS=1`` also writes the pictures of the committed report that the docs show.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgecritic_bench.quantization.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[4]
COMMITTED = ROOT / "docs" / "reports" / "embedded-ladder" / "report.html"
PICTURES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def page_file(report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report, tmp_path_factory.mktemp("report"))[-1]


@pytest.fixture
def shown(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file; whatever it fetches or complains of fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def show(path: Path, width: int = 1100, height: int = 900) -> Page:
        view = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=view, device_scale_factor=1.5))
        page = contexts[-1].new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        wanted = path.absolute().as_uri()
        page.on("request", lambda asked: _check(asked.url, wanted, complaints))
        page.goto(wanted)
        return page

    yield show
    for context in contexts:
        context.close()
    assert complaints == []


def _check(url: str, wanted: str, complaints: list[str]) -> None:
    if url != wanted and not url.startswith("data:"):
        complaints.append(f"fetched {url}")


@pytest.fixture(scope="module")
def crowded_file(crowded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(crowded, tmp_path_factory.mktemp("crowded"))[-1]


@pytest.mark.parametrize("width", [1100, 700, 390])
@pytest.mark.parametrize("arms", ["few", "many"])
def test_nothing_sticks_out(shown, page_file, crowded_file, arms, width):
    page = shown(page_file if arms == "few" else crowded_file, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Words of a figure stay inside of it.
    cut = page.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter(text => {
            const own = text.getBoundingClientRect();
            const all = text.ownerSVGElement.getBoundingClientRect();
            return own.left < all.left - 2 || own.right > all.right + 2
                || own.top < all.top - 2 || own.bottom > all.bottom + 2;
        }).map(text => text.textContent)"""
    )
    assert cut == []


def test_the_first_page_answers(shown, page_file, report):
    page = shown(page_file)
    answer = page.locator(".answer").inner_text()
    assert (report["recommendation"]["arm"] or "None can be recommended") in answer
    top = page.locator(".answer").bounding_box()
    ladder = page.locator("section.first table").bounding_box()
    assert top is not None
    assert ladder is not None
    assert top["y"] + top["height"] < 450
    assert ladder["y"] < 900
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    # Drawn, not blank: ink and colours all the way down.
    bands = np.array_split(np.asarray(picture).min(axis=2), 12)
    assert all((band < 128).any() for band in bands)


def test_words_can_be_read(shown, page_file):
    """Contrast of 4.5 and more, as WCAG 2 asks, of all text in tables and paragraphs."""
    page = shown(page_file)
    faint = page.evaluate(
        """() => {
            const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
                .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
            const back = e => { for (; e; e = e.parentElement) {
                const c = getComputedStyle(e).backgroundColor;
                if (!c.endsWith(", 0)")) return c; } return "rgb(255,255,255)"; };
            return [...document.querySelectorAll("p, td, th, span, li, figcaption, div.what")]
                .filter(e => e.childNodes.length && e.textContent.trim())
                .filter(e => { const [a, b] = [light(getComputedStyle(e).color), light(back(e))];
                    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5; })
                .map(e => e.textContent.slice(0, 40));
        }"""
    )
    assert faint == []


def test_it_prints(shown, page_file, tmp_path):
    page = shown(page_file)
    page.emulate_media(media="print")
    printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")
    assert 4 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 40


def test_the_committed_report_is_shown_in_the_docs(shown):
    page = shown(COMMITTED)
    first = page.locator("section.first").screenshot()
    assert len(first) > 20_000
    if os.environ.get("UPDATE_SCREENSHOTS"):
        (PICTURES / "quantization-report.png").write_bytes(_small(first))
        drift = page.locator("figure").nth(1).screenshot()
        (PICTURES / "quantization-flips.png").write_bytes(_small(drift))
    assert (PICTURES / "quantization-report.png").stat().st_size > 20_000


def _small(png: bytes) -> bytes:
    """The same in 128 colours, a third of the size."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(out, "PNG", optimize=True)
    return out.getvalue()
