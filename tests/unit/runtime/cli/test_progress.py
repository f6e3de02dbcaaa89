"""Long steps: how far they are, on a terminal and in a pipe."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.cli import console as module
from edgecritic.cli.console import Console
from edgecritic.cli.terminal import display_width
from edgecritic.gauge import Gauge, clock

GB = 10**9


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "elapsed", "text"),
    [
        (0, 5.0, "0.00 of 4.70 GB"),
        (1_250_000_000, 0.5, "1.25 of 4.70 GB"),
        (1_250_000_000, 5.0, "1.25 of 4.70 GB, 250 MB/s, 0:14 left"),
        (4_700_000_000, 3.0, "4.70 of 4.70 GB, 1.57 GB/s, 0:00 left"),
        (5_000_000_000, 10.0, "5.00 of 5.00 GB, 500 MB/s, 0:00 left"),  # the plan was too small
    ],
)
def test_amount_rate_and_time(done: int, elapsed: float, text: str) -> None:
    assert Gauge(4_700_000_000, 0, 100.0).text(done, 100.0 + elapsed) == text


def test_what_was_there_before_makes_no_rate() -> None:
    gauge = Gauge(4 * GB, GB, 0.0)
    assert gauge.text(GB, 10.0) == "1.00 of 4.00 GB"
    assert gauge.text(2 * GB, 10.0) == "2.00 of 4.00 GB, 100 MB/s, 0:20 left"
    assert gauge.share(2 * GB) == 0.5


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.floats(0, 1e6))
def test_any_numbers_give_a_share_and_a_text(total: int, done: int, now: float) -> None:
    gauge = Gauge(total, 0, 0.0)
    assert 0 <= gauge.share(done) <= 1
    assert " of " in gauge.text(done, now)


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (760, "12:40"), (11_100, "3:05:00"), (59.6, "1:00")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("columns", ["90", "30"])
def test_a_bar_on_a_terminal(columns: str) -> None:
    err = Terminal()
    console = Console(io.StringIO(), err, {"COLUMNS": columns, "TERM": "xterm"})
    with console.measured("a-model-with-a-long-name.gguf", 4 * GB, lambda: 2 * GB):
        time.sleep(0.25)
        console.talk("one line in between")
        time.sleep(0.15)
    drawn = err.getvalue()
    assert drawn.endswith("\r\x1b[K")  # nothing stays
    assert "\r\x1b[Kone line in between\n" in drawn
    frames = [frame for frame in drawn.split("\r\x1b[K") if frame and "between" not in frame]
    assert len(frames) >= 2
    assert all(display_width(frame) < int(columns) for frame in frames)
    if columns == "90":
        assert "█" * 10 + " " * 10 + " a-model-with-a-long-name.gguf: 2.00 of 4.00 GB" in drawn


@pytest.mark.parametrize("columns", ["", "0", "wide", "-1", "9" * 5000])
def test_widths_that_no_terminal_has(columns: str) -> None:
    console = Console(io.StringIO(), Terminal(), {"COLUMNS": columns})
    assert 40 <= console.style.width <= 100


def test_lines_now_and_then_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.1)
    err = io.StringIO()
    console = Console(io.StringIO(), err, {})
    with console.measured("model.gguf", 4 * GB, lambda: GB):
        time.sleep(0.25)
    lines = err.getvalue().splitlines()
    assert set(lines) == {"model.gguf: 1.00 of 4.00 GB"}


def test_short_steps_say_nothing_in_a_pipe() -> None:
    err = io.StringIO()
    with Console(io.StringIO(), err, {}).measured("model.gguf", GB, lambda: 0):
        pass
    assert err.getvalue() == ""


def test_an_interruption_ends_the_bar() -> None:
    err = Terminal()
    console = Console(io.StringIO(), err, {"TERM": "xterm"})
    with pytest.raises(KeyboardInterrupt), console.measured("model.gguf", GB, lambda: 0):
        raise KeyboardInterrupt
    assert err.getvalue() == "\r\x1b[K"
