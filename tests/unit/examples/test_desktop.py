"""The desktop example: its window drawn into memory, and the whole app on a virtual screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest
from PIL import Image

from edgecritic import ArtifactError, Critic
from edgecritic.backends.base import CancelToken
from edgecritic.progress import OnEvent
from scripted_critic import REASON, scripted_critic

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
try:
    from PySide6 import QtCore, QtWidgets
except ImportError as error:  # of a library of the system, mostly: the message names it
    pytest.skip(f"Qt cannot be loaded, see CONTRIBUTING.md: {error}", allow_module_level=True)
if sys.version_info < (3, 12) and QtCore.__version_info__ >= (6, 12):
    pytest.skip("PySide6 6.12 loses references to None here", allow_module_level=True)
Load = Callable[[OnEvent], Critic]
window_module = pytest.importorskip("desktop_critic.window")

ROOT = Path(__file__).parents[3]
SEVEN = ROOT / "runtime" / "edgecritic" / "demo_images" / "seven.png"


@pytest.fixture(scope="module")
def app() -> Any:
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def show(app: Any) -> Iterator[Callable[[Load], Any]]:
    """Opens windows, and closes them at the end."""
    windows: list[Any] = []

    def opened(load: Load) -> Any:
        windows.append(window_module.Window(load))
        windows[-1].show()
        return windows[-1]

    yield opened
    for window in windows:
        window.close()


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    """Let Qt work until something holds."""
    deadline = QtCore.QDeadlineTimer(int(seconds * 1000))
    while not until():
        assert not deadline.hasExpired(), "it never happened"
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 50)


def ask(window: Any, first: str = "right", second: str = "wrong") -> None:
    wait(window.judge_button.isEnabled)
    window.question.setText("Which?")
    window.first.setPlainText(first)
    window.second.setPlainText(second)
    window.judge_button.click()


class Gate:
    """A critic whose engine waits for the window at every step."""

    def __init__(self) -> None:
        self.waiting, self.open = Event(), Event()
        self.thread = ""

    def load(self, tell: OnEvent) -> Critic:
        return scripted_critic(meanwhile=self._wait)

    def _wait(self, _prompt: bytes) -> None:
        self.thread = current_thread().name
        self.waiting.set()
        assert self.open.wait(60), "the window never went on"


def test_a_verdict_and_its_reason_are_shown(show: Any) -> None:
    window = show(lambda tell: scripted_critic())
    window.picture.show_file(SEVEN)
    ask(window)
    wait(lambda: window.job is None)
    assert window.verdict.headline.text() == "The first is better"
    assert window.verdict.bars["first"].preferred
    assert window.verdict.bars["first"].probability > 0.9
    assert window.verdict.bars["first"].accessibleName().startswith("First: 9")
    assert "the same" in window.verdict.orders.text()
    assert window.verdict.reason.toPlainText().strip() == REASON
    assert window.message.text().startswith("Done in")


def test_the_window_lives_while_the_engine_computes(show: Any) -> None:
    gate = Gate()
    window = show(gate.load)
    ask(window)
    # Were the engine to run in the window's thread, nothing here would ever be reached.
    wait(gate.waiting.is_set)
    assert gate.thread != current_thread().name
    assert window.cancel_button.isEnabled()
    assert not window.judge_button.isEnabled()
    assert window.progress.isVisible()
    gate.open.set()
    wait(lambda: window.job is None)
    assert window.verdict.headline.text() == "The first is better"


def test_cancelling_stops_and_the_next_one_is_judged(show: Any) -> None:
    gate = Gate()
    window = show(gate.load)
    ask(window)
    wait(gate.waiting.is_set)
    window.cancel_button.click()
    gate.open.set()
    wait(lambda: window.job is None)
    assert window.message.text() == "Stopped"
    assert window.verdict.bars["first"].probability is None
    ask(window, "wrong", "right")
    wait(lambda: window.job is None)
    assert window.verdict.headline.text() == "The second is better"


def test_closing_in_the_middle_ends_the_thread_and_frees_the_critic(show: Any) -> None:
    gate = Gate()
    window = show(gate.load)
    ask(window)
    wait(gate.waiting.is_set)
    token: CancelToken = window.job.cancel
    gate.open.set()
    window.close()
    assert token.cancelled
    assert not window._thread.isRunning()
    assert window._worker._critic.closed


def test_what_cannot_be_judged_is_said(show: Any) -> None:
    window = show(lambda tell: scripted_critic())
    wait(window.judge_button.isEnabled)
    window.question.setText(" ")
    window.judge_button.click()
    wait(lambda: window.job is None)
    assert window.message.text().startswith("the question is empty: ")


def test_a_critic_that_cannot_be_loaded_is_said(show: Any) -> None:
    def load(tell: OnEvent) -> Critic:
        raise ArtifactError("the model is missing", "edgecritic models pull embedded")

    window = show(load)
    wait(lambda: "edgecritic models pull" in window.message.text())
    assert not window.judge_button.isEnabled()


def test_pictures_are_dropped_and_others_refused(show: Any, tmp_path: Path) -> None:
    from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
    from PySide6.QtGui import QDragEnterEvent, QDropEvent

    window = show(lambda tell: scripted_critic())
    other = tmp_path / "notes.png"
    other.write_text("no picture")
    for path in (SEVEN, other):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        enter = QDragEnterEvent(QPoint(9, 9), Qt.DropAction.CopyAction, data, button, keys)
        drop = QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, data, button, keys)
        for event in (enter, drop):
            QtWidgets.QApplication.sendEvent(window.picture, event)
    assert window.picture.path == SEVEN
    assert "notes.png cannot be shown" in window.message.text()


def test_markup_is_shown_as_it_is_written(show: Any) -> None:
    window = show(lambda tell: scripted_critic("<b>bold</b><img src=x>"))
    ask(window)
    wait(lambda: window.job is None)
    assert window.verdict.reason.toPlainText().strip() == "<b>bold</b><img src=x>"


def test_the_embedded_critic_judges_in_the_window(show: Any, tmp_path: Path) -> None:
    window = show(lambda tell: Critic.load(on_event=tell))
    window.picture.show_file(SEVEN)
    wait(window.judge_button.isEnabled)
    window.judge_button.click()
    wait(lambda: window.job is None, 300)
    assert window.verdict.headline.text() == "The first is better"
    picture = window.grab().toImage()
    assert picture.save(str(tmp_path / "desktop.png"))
    shades = {picture.pixelColor(x, y).rgb() for x in range(0, 980, 7) for y in range(0, 620, 7)}
    assert len(shades) > 20


ON_SCREEN = """
import sys
from pathlib import Path
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from desktop_critic.__main__ import main

def look():
    app = QApplication.instance()
    window = next((w for w in app.topLevelWidgets() if hasattr(w, "judge_button")), None)
    if window is None or not window.isVisible():
        return
    if window.job is not None or not window.judge_button.isEnabled():
        return
    if not window.message.text().startswith("Done"):
        window.judge_button.click()
        return
    app.primaryScreen().grabWindow(0).save(sys.argv[2])
    window.close()
    print(app.platformName(), window.verdict.headline.text(), sep=": ")

show = QApplication.exec

def begin(_app):
    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(100)
    return show()

QApplication.exec = begin
sys.exit(main())
"""


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="Xvfb is not installed")
def test_the_app_runs_on_a_screen(tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    screen = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24"]
    ran = subprocess.run(
        [*screen, sys.executable, "-c", ON_SCREEN, str(SEVEN), str(picture)],
        env={**os.environ, "QT_QPA_PLATFORM": "xcb", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "no Qt platform plugin could be initialized" in ran.stderr:
        pytest.skip("Qt lacks libraries of X11, see CONTRIBUTING.md")
    assert (ran.returncode, ran.stdout) == (0, "xcb: The first is better\n"), ran.stderr
    with Image.open(picture) as shown:
        assert shown.size == (1280, 800)
        assert len(shown.convert("RGB").getcolors(1 << 20) or ()) > 50
