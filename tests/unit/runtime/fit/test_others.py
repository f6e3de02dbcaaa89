"""Who keeps the machine busy: this thread and its children, or others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import pytest

from edgecritic.fit import others
from edgecritic.fit.others import Others

CORES = 4
BURN = "import time\nwhile time.process_time() < 0.3: pass"
Spend = Callable[..., None]


@pytest.fixture
def spend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spend:
    """Lets seconds go by in which so many of processors are spent, as Linux tells it."""
    clock, spent = [100.0], dict.fromkeys(("all", "here", "children", "idle"), 50.0)
    stat = tmp_path / "stat"
    times = os.times_result((0, 0, 0, 0, 0))

    def pass_by(seconds: float, **more: float) -> None:
        clock[0] += seconds
        for kind, amount in more.items():
            spent[kind] += amount
        ticks = [int(value * os.sysconf("SC_CLK_TCK")) for value in (spent["all"], spent["idle"])]
        stat.write_text(f"cpu  {ticks[0]} 0 0 {ticks[1]} 7 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")

    def told() -> os.times_result:
        return os.times_result((*times[:2], spent["children"], *times[3:]))

    monkeypatch.setattr(others, "_STAT", stat)
    monkeypatch.setattr(others.sys, "platform", "linux")
    monkeypatch.setattr(others.os, "cpu_count", lambda: CORES)
    monkeypatch.setattr(others.os, "times", told)
    monkeypatch.setattr(others, "thread_time", lambda: spent["here"])
    monkeypatch.setattr(others, "perf_counter", lambda: clock[0])
    pass_by(0)
    return pass_by


def test_what_was_computed_here_and_by_children_is_not_of_others(spend: Spend) -> None:
    watch = Others()
    spend(10, all=32, here=4, children=28, idle=8)
    assert watch.share() == 0


def test_what_others_computed_is_a_share_of_all_cores(spend: Spend) -> None:
    watch = Others()
    spend(10, all=30, children=20, idle=10)
    assert watch.share() == pytest.approx(10 / 10 / CORES)


def test_what_was_before_does_not_count(spend: Spend) -> None:
    spend(60, all=200, here=30, children=100)
    watch = Others()
    spend(1, all=1, children=1)
    assert watch.share() == 0


def test_a_system_that_tells_nothing_has_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(others, "_STAT", tmp_path / "none")
    monkeypatch.setattr(others.sys, "platform", "linux")
    watch = Others()
    assert watch.share() == 0


def test_processes_that_ended_count_as_ones_own() -> None:
    before, here = others._own(), thread_time()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert others._own() - before - (thread_time() - here) >= 0.25


def test_this_system_tells_how_busy_it_is() -> None:
    busy = others._busy()
    assert busy is not None
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert (others._busy() or 0) - busy >= 0.25
