"""The command as a process: speed, signals, closed pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUNTIME = str(Path(__file__).parents[4] / "runtime")
EDGECRITIC = (sys.executable, "-m", "edgecritic")
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRON["PYTHONPATH"] = RUNTIME


def test_help_needs_no_heavy_module() -> None:
    code = (
        "import sys; from edgecritic.cli import main; status = main(['score', '--help']); "
        "heavy = {'numpy', 'PIL', 'torch', 'llama_cpp', 'onnxruntime'}; "
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else status)"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_stdin_is_read_is_clean() -> None:
    with subprocess.Popen(
        (*EDGECRITIC, "score", "--question", "a", "--response", "-"),
        env=ENVIRON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _wait_until_it_reads(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")


def _wait_until_it_reads(process: subprocess.Popen[str]) -> None:
    """Until the main thread sleeps in a read of its pipe; a fixed pause where that is unknown."""
    where = Path(f"/proc/{process.pid}/wchan")
    for _ in range(100):
        time.sleep(0.05)
        if where.exists() and "pipe" in where.read_text():
            return
    time.sleep(1)


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            (*EDGECRITIC, "--help"),
            env=ENVIRON,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_the_version_is_told() -> None:
    done = subprocess.run(
        (*EDGECRITIC, "--version"), env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("edgecritic ")


@pytest.mark.skipif(os.name != "posix", reason="closes streams by a POSIX shell")
def test_streams_that_are_closed_are_no_traceback() -> None:
    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ("sh", "-c", f'exec "$0" -m edgecritic {command}', sys.executable),
            env=ENVIRON,
            capture_output=True,
            text=True,
            check=False,
        )

    without_output = shell("--version >&-")
    assert (without_output.returncode, without_output.stderr) == (0, "")
    without_errors = shell("score 2>&-")
    assert without_errors.returncode == 2
    without_input = shell("score --question a --response - <&-")
    assert without_input.returncode == 2
    assert "--response reads stdin, and this process has none" in without_input.stderr
