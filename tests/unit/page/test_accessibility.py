"""axe-core finds nothing to complain of, whatever the page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from page_server import StandIn
from scripted_critic import scripted_critic

from .conftest import SEVEN, fill, judge

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parents[3] / "clients/js/node_modules/axe-core/axe.min.js"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 700}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not AXE.is_file(), reason="axe-core is not installed: run npm ci in clients/js"
    ),
]


def complaints(page: Page) -> list[Any]:
    """What axe finds. It is evaluated by the debugger, which the page's policy does not bind."""
    page.evaluate(AXE.read_text())
    # A colour in the middle of a transition is nobody's colour.
    page.evaluate("() => Promise.all(document.getAnimations().map((a) => a.finish?.call(a)))")
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in found["violations"]
    ]


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_is_content(
    opened: Callable[..., Page], stand_in: StandIn, scheme: str, viewport: dict[str, int]
) -> None:
    stand_in.critics["critic-Q4_K_M"] = scripted_critic("why not")
    page = opened(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    page.locator(".critic").nth(1).wait_for()
    assert complaints(page) == []
    page.set_input_files("#file", SEVEN)
    page.click("#options summary")
    page.select_option("#scale", "other")
    page.locator(".critic input").nth(1).check()
    fill(page, "right", "wrong")
    judge(page)
    assert complaints(page) == []
    fill(page, "right", "wrong", "x" * 30_000)
    page.check("input[value=score]")
    judge(page)
    assert complaints(page) == []
    fill(page, "right", "wrong", "neither")
    page.check("input[value=together]")
    judge(page)
    page.locator(".pairs summary").first.click()
    assert complaints(page) == []
    page.fill("#question", "")
    page.click("#judge")
    assert complaints(page) == []
    too_wide = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    assert not too_wide
