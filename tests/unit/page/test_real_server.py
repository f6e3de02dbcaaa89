"""The page before the real server and the embedded critic, which no stand-in speaks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import SEVEN, fill

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytestmark = pytest.mark.browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RUNTIME = Path(__file__).parents[3] / "runtime"


@pytest.fixture
def address() -> Iterator[str]:
    """Of a sidecar: with its token in the fragment."""
    paths = os.pathsep.join([str(RUNTIME), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "edgecritic", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--parent-pid", str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    ) as server:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        yield f"http://127.0.0.1:{ready['port']}/#token={ready['token']}"
        server.terminate()


def test_a_real_verdict_under_the_servers_own_policy(browser: Browser, address: str) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text))
    page.goto(address)
    page.locator(".critic").wait_for()
    assert "drawn graphics" in str(page.text_content(".critic details"))
    page.set_input_files("#file", SEVEN)
    fill(page, "It is a 7.", "It is a 1.")
    page.click("#judge")
    page.locator("#export").wait_for(timeout=300_000)
    assert page.inner_text(".big") == "A is better"
    assert page.inner_text(".chip") == "Both orders agree"
    assert "7" in page.inner_text(".reason")
    page.locator(".state[data-state=ready]").wait_for()
    page.locator("#responses button").last.click()
    page.click("#judge")
    page.locator(".levels").wait_for(timeout=300_000)
    page.locator("#export").wait_for(timeout=300_000)
    assert float(page.inner_text(".big.score").partition("/")[0]) > 8
    assert complaints == []
    page.close()
