"""Memory of this process, as its operating system counts it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any, Final

_STATUS: Final = Path("/proc/self/status")
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of malloc.h


def resident() -> int:
    """Bytes in main memory now, mapped files included; the peak where only that is told."""
    return _linux("VmRSS:") if _STATUS.exists() else peak()


def peak() -> int:
    """The most bytes that were in main memory at once."""
    if _STATUS.exists():
        return _linux("VmHWM:")
    if sys.platform == "win32":
        return _windows()
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def give_back_what_is_freed() -> None:
    """Have glibc map every larger block by itself, so that `resident` counts what is in use."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, 1 << 16)


def _linux(key: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def _windows() -> int:
    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of psapi.h."""

        _fields_ = [
            ("cb", ctypes.c_uint32),
            ("faults", ctypes.c_uint32),
            *((f"size_{number}", ctypes.c_size_t) for number in range(8)),
        ]

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    windll: Any = getattr(ctypes, "windll")  # noqa: B009 - it is there on Windows only
    handle = ctypes.c_void_p(windll.kernel32.GetCurrentProcess())
    windll.psapi.GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.cb)
    return int(counters.size_0)  # PeakWorkingSetSize
