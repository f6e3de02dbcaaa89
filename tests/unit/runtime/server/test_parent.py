"""A server learns that its parent has ended, with and without the kernel's help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from threading import Event

import pytest

from edgecritic.errors import InputError
from edgecritic.server import parent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows waits for a handle")


@pytest.fixture(params=["told by the kernel", "refused by the kernel", "polled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to learn of a process's end, whatever this kernel has."""

    def refuse(_pid: int) -> int:
        raise PermissionError("a container without it")

    if request.param == "told by the kernel" and not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd_open")
    elif request.param == "refused by the kernel":
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    elif request.param == "polled":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.usefixtures("way")
def test_the_end_of_a_process_is_told_and_not_before(other: subprocess.Popen[bytes]) -> None:
    ended = Event()
    parent.watch(other.pid, ended.set)
    assert not ended.wait(0.6)  # longer than the time between two looks
    other.kill()
    other.wait()
    assert ended.wait(10)


@pytest.mark.parametrize("there", [True, False])
def test_a_process_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes], there: bool
) -> None:
    if not there:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    other.kill()
    other.wait()
    with pytest.raises(InputError, match=f"there is no process {other.pid}"):
        parent.watch(other.pid, lambda: None)
