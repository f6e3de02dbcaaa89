"""Ctrl-C while an engine works."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken


@contextmanager
def cancelling() -> Iterator[CancelToken]:
    """Let Ctrl-C set the yielded token instead of raising `KeyboardInterrupt`; twice, it raises.

    An engine's C code calls Python for its log and to ask whether to stop. No exception can leave
    such a call: an interrupt that arrived in one would be printed and forgotten. A token is seen
    by the engine itself, which then stops in the middle of a computation.

    Where the process ignores interrupts, or handles them in its own way, that stays so.
    """
    from edgecritic.backends.base import CancelToken

    token = CancelToken()

    def note(_number: int, _frame: object) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or current_thread() is not main_thread():
        yield token
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_if_cancelled(token: CancelToken) -> None:
    """Do now what Ctrl-C asked for.

    Raises:
        KeyboardInterrupt: the token is set.
    """
    if token.cancelled:
        raise KeyboardInterrupt
