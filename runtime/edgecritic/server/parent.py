"""Ends a server whose parent has ended, so that no sidecar outlives its app."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from threading import Thread

from edgecritic.errors import InputError

_LOOK_S = 0.25


def watch(pid: int, ended: Callable[[], None]) -> None:
    """Call `ended`, in a thread, when a process has ended.

    Args:
        pid: of the process.
        ended: called once.

    Raises:
        InputError: there is no such process.
    """
    wait = _waiter(pid)

    def run() -> None:
        wait()
        ended()

    Thread(target=run, name="edgecritic-parent", daemon=True).start()


def _no_process(pid: int) -> InputError:
    return InputError(f"there is no process {pid}", "give --parent-pid the id of a running one")


if sys.platform == "win32":
    import ctypes

    _SYNCHRONIZE = 0x00100000
    _FOREVER = 0xFFFFFFFF

    def _waiter(pid: int) -> Callable[[], None]:
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            raise _no_process(pid)
        return lambda: kernel.WaitForSingleObject(handle, _FOREVER)

else:

    def _waiter(pid: int) -> Callable[[], None]:
        if hasattr(os, "pidfd_open"):  # Linux: tells even of one that nobody has waited for
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                raise _no_process(pid) from None
            except OSError:  # a kernel or a container without it
                return lambda: _poll(pid)
            return lambda: _readable(descriptor)
        if not _alive(pid):
            raise _no_process(pid)
        return lambda: _poll(pid)

    def _readable(descriptor: int) -> None:
        select.select([descriptor], [], [])

    def _poll(pid: int) -> None:
        child = os.getppid() == pid
        while _alive(pid) and (not child or os.getppid() == pid):
            time.sleep(_LOOK_S)

    def _alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
