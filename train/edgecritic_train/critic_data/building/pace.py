"""No more requests in a minute than an endpoint allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from edgecritic.errors import InputError


class Pace:
    """Lets requests through evenly. Several threads may wait.

    Args:
        per_minute: requests; None lets all through.
        clock: seconds that never go back.
        sleep: waits that many seconds.

    Raises:
        InputError: the number is not above 0.
    """

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if per_minute is not None and not per_minute > 0:
            raise InputError(f"{per_minute:g} requests a minute", "give a number above 0")
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._free_at = clock()

    def wait(self, requests: int) -> None:
        """Return when that many more requests may be sent."""
        if not self._gap:
            return
        with self._lock:
            start = max(self._clock(), self._free_at)
            self._free_at = start + requests * self._gap
        if (delay := start - self._clock()) > 0:
            self._sleep(delay)
