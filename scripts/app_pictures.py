"""Takes the pictures of the page and of the desktop app that the docs show, with real verdicts.

    python scripts/app_pictures.py [--out docs/images] [--bundle DIR --bundle DIR]

Needs Chromium, Playwright, PySide6 and the embedded critic's language model; for the picture of
several bundles side by side, the bundles.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "runtime" / "edgecritic" / "demo_images"
WIDE = {"width": 1180, "height": 800}
NARROW = {"width": 390, "height": 844}
SECONDS = 300
QUESTION = "What does the picture show?"
DESCRIPTIONS = ("A rose, a motor boat and a baguette.", "A rose, a motor boat and an apple.")


@contextmanager
def served(*bundles: str) -> Iterator[str]:
    """The address of a server with these bundles or the embedded critic, its token included."""
    command = [sys.executable, "-m", "edgecritic", "serve", "--port", "0", "--parent-pid"]
    options = [option for bundle in bundles for option in ("--bundle", bundle)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "runtime")}
    with subprocess.Popen(
        [*command, str(os.getpid()), *options], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            ready = json.loads(next(iter(server.stdout or ())))
            yield f"http://127.0.0.1:{ready['port']}/#token={ready['token']}"
        finally:
            server.terminate()


def judge(page: Page, picture: str, question: str, *responses: str) -> None:
    """Fill the page's form and wait for the end of the reason."""
    page.locator(".critic").first.wait_for()
    page.set_input_files("#file", PICTURES / picture)
    page.fill("#question", question)
    fields = page.locator("#responses textarea")
    while fields.count() < len(responses):
        page.click("#add")
    for index, response in enumerate(responses):
        fields.nth(index).fill(response)
    page.click("#judge")
    page.locator("#export").wait_for(timeout=SECONDS * 1000)
    page.locator(".state[data-state=ready]").first.wait_for()
    page.mouse.move(0, 0)
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(600)  # bars grow to their length


def save(png: bytes, file: Path) -> None:
    """As few bytes as 256 colours take."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def of_the_page(out: Path) -> None:
    """A comparison, by day and by night, and a ranking on a telephone."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with served() as address, sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, name in (("light", "page.png"), ("dark", "page-dark.png")):
            page = browser.new_page(color_scheme=scheme, viewport=WIDE, device_scale_factor=1.25)
            page.goto(address)
            judge(page, "seven.png", "Which digit is this?", "It is a 7.", "It is a 1.")
            save(page.screenshot(), out / name)
        page = browser.new_page(viewport=NARROW, device_scale_factor=2)
        page.goto(address)
        judge(page, "seven.png", "Which digit is this?", "It is a 7.", "A 1.", "It is a 9.")
        page.click(".pairs summary")
        page.locator("#results").scroll_into_view_if_needed()
        save(page.locator("#results").screenshot(), out / "page-narrow.png")
        browser.close()


def of_bundles(out: Path, bundles: list[str]) -> None:
    """One comparison by several bundles, side by side."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with served(*bundles) as address, sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE, device_scale_factor=1.25)
        page.goto(address)
        page.locator(".critic").nth(len(bundles) - 1).wait_for()
        for box in page.locator(".critic input").all():
            box.check()
        judge(page, "scene.png", QUESTION, *DESCRIPTIONS)
        save(page.screenshot(), out / "page-quants.png")
        browser.close()


def of_the_desktop(out: Path) -> None:
    """The desktop example with its verdict."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT / "runtime"), str(ROOT / "examples" / "desktop")]
    from desktop_critic.window import Window
    from PySide6.QtCore import QEventLoop, QTimer
    from PySide6.QtGui import QFont
    from PySide6.QtWidgets import QApplication

    from edgecritic import Critic

    app = QApplication([])
    app.setStyle("Fusion")
    app.setFont(QFont("Inter", 10))
    window = Window(lambda tell: Critic.load(on_event=tell))
    window.picture.show_file(PICTURES / "seven.png")
    window.show()
    loop, look = QEventLoop(), QTimer()

    def look_again() -> None:
        if window.message.text().startswith("Done"):
            loop.quit()
        elif window.job is None:
            window.judge()

    look.timeout.connect(look_again)
    look.start(100)
    loop.exec()
    look.stop()
    window.grab().save(str(out / "desktop.png"))
    window.close()
    save((out / "desktop.png").read_bytes(), out / "desktop.png")


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--bundle", action="append", default=[], help="repeat for several")
    args = parser.parse_args()
    # As the app's own main does: threads that wait for work soon sleep.
    os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
    if args.bundle:
        of_bundles(args.out, args.bundle)
        return
    of_the_page(args.out)
    of_the_desktop(args.out)


if __name__ == "__main__":
    main()
