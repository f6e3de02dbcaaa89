"""How busy others keep this machine while something is timed on it.

The average load of the last minute would not tell: it counts what this process itself, and whatever
the user ran just before, has computed in that minute, and nothing of what is going on since.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final

_STAT: Final = Path("/proc/stat")
_HOST_CPU_LOAD_INFO: Final = 3  # of mach/host_info.h, whose clock ticks 100 times a second


class Others:
    """Watches from its making on.

    What the thread that made it computes is not others' work, nor is what processes computed that
    it began and that have ended when it asks.
    """

    def __init__(self) -> None:
        self._busy, self._own, self._begun = _busy(), _own(), perf_counter()

    def share(self) -> float:
        """Share of all cores that others kept busy until now; 0 where the system does not tell."""
        busy, own, seconds = _busy(), _own(), perf_counter() - self._begun
        if busy is None or self._busy is None or not seconds:
            return 0.0
        others = (busy - self._busy) - (own - self._own)
        return max(0.0, others / seconds / (os.cpu_count() or 1))


def _own() -> float:
    """Seconds of processors that this thread and processes that have ended took."""
    spent = os.times()
    return thread_time() + spent.children_user + spent.children_system


def _busy() -> float | None:
    """Seconds that all processors were busy, whoever kept them so."""
    try:
        if sys.platform == "win32":
            return _windows()
        return _darwin() if sys.platform == "darwin" else _linux()
    except (OSError, ValueError, AttributeError):
        return None


def _linux() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(
        int, _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _darwin() -> float:
    system: Any = ctypes.CDLL(None)
    ticks, size = (ctypes.c_uint32 * 4)(), ctypes.c_uint32(4)
    system.host_statistics(system.mach_host_self(), _HOST_CPU_LOAD_INFO, ticks, ctypes.byref(size))
    user, kernel, _idle, nice = ticks
    return (user + kernel + nice) / 100


def _windows() -> float:
    idle, kernel, user = (ctypes.c_uint64() for _ in range(3))  # of 100 ns
    windll: Any = getattr(ctypes, "windll")  # noqa: B009 - it is there on Windows only
    windll.kernel32.GetSystemTimes(ctypes.byref(idle), ctypes.byref(kernel), ctypes.byref(user))
    return (kernel.value - idle.value + user.value) / 1e7  # the kernel's time holds the idle one
