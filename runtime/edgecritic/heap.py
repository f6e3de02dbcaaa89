"""The C library's heap: memory that was freed goes back to the system when it is told."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def trim() -> None:
    """Give back what was freed, which glibc keeps for the thread that freed it.

    Does nothing on systems with another C library.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
