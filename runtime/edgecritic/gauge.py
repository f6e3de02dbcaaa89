"""How far a long step is, in bytes or rows: amount, rate, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

_UNITS: Final = ((1e9, "GB", 2), (1e6, "MB", 0), (1e3, "kB", 0))
_SETTLED_S: Final = 1.0
"""Before that a rate says more about buffers than about the disk."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A step that began at some time.

    Attributes:
        total: bytes planned; an estimate may turn out to be too small.
        before: bytes that were there already when it began.
        began: seconds, by the clock that `text` is asked with.
        things: what is counted instead of bytes, such as ``rows``.
    """

    total: int
    before: int
    began: float
    things: str = ""

    def share(self, done: int) -> float:
        """What is done, in [0, 1]."""
        return min(1.0, done / self.total) if self.total > 0 else 1.0

    def text(self, done: int, now: float) -> str:
        """Such as ``1.25 of 4.70 GB, 310 MB/s, 0:11 left``.

        Args:
            done: bytes so far, those from before included.
            now: seconds.
        """
        size, unit, digits = self._unit(max(self.total, done))
        amount = f"{done / size:,.{digits}f} of {max(self.total, done) / size:,.{digits}f} {unit}"
        elapsed = now - self.began
        if done <= self.before or elapsed < _SETTLED_S:
            return amount
        rate = (done - self.before) / elapsed
        left = max(0, self.total - done) / rate
        return f"{amount}, {self._rate(rate)}, {clock(left)} left"

    def _unit(self, amount: float) -> tuple[float, str, int]:
        return (1.0, self.things, 0) if self.things else _unit(amount)

    def _rate(self, rate: float) -> str:
        if self.things:
            return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        size, unit, digits = _unit(rate)
        return f"{rate / size:.{digits}f} {unit}/s"


@contextmanager
def repeated(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Do something in intervals, in another thread."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def clock(seconds: float) -> str:
    """``0:07``, ``12:40``, ``3:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _unit(nbytes: float) -> tuple[float, str, int]:
    """Size, name and decimals of the unit to show a number of bytes in."""
    return next((unit for unit in _UNITS if nbytes >= unit[0]), (1.0, "bytes", 0))
