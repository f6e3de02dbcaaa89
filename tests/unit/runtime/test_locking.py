"""A lock is held by one, and by nobody once its holder is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgecritic.locking import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from edgecritic.locking import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

FORKING = """
import multiprocessing, sys, time
from pathlib import Path
from edgecritic.locking import exclusive
with exclusive(Path(sys.argv[1])):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    print(child.pid, flush=True)
    if sys.argv[2] == "killed":
        time.sleep(60)
time.sleep(60)
"""


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        with exclusive(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert (most, inside) == (1, 0)


def test_who_waits_is_told_once_and_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    told: list[str] = []
    threading.Timer(0.5, holder.kill).start()
    with exclusive(tmp_path / "lock", lambda: told.append("waiting")):
        assert holder.wait(timeout=10) != 0
    holder.stdout.close()
    assert told == ["waiting"]


def test_an_error_inside_releases_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    with exclusive(tmp_path / "lock"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is forked there")
@pytest.mark.parametrize("end", ["killed", "left"])
def test_what_was_forked_inside_does_not_hold_it(tmp_path: Path, end: str) -> None:
    """Such as the processes that prepare a training's batches."""
    holder = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path / "lock"), end],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        if end == "killed":
            holder.kill()
            holder.wait(timeout=10)
        since = time.monotonic()
        with exclusive(tmp_path / "lock"):
            os.kill(child, 0)  # it lives still
        assert time.monotonic() - since < 30
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.wait(timeout=10)
        holder.stdout.close()
