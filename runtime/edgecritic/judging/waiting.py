"""How a caller's thread waits for judgements: Ctrl-C is noticed, and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from edgecritic.progress import Progress

Item = TypeVar("Item")
_LOOK_SECONDS: Final = 0.1


def results(futures: Sequence[Future[Item]]) -> list[Item]:
    """All results; if one fails, the others are not waited for."""
    try:
        while (found := wait(futures, _LOOK_SECONDS, FIRST_EXCEPTION)).not_done:
            for future in found.done:
                future.result()  # raises what failed
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def told(items: SimpleQueue[object], future: Future[Any]) -> Generator[Any, None, None]:
    """What is told of a judgement, but for its progress, and its result; who leaves early stops it.

    Args:
        items: what is told.
        future: the judgement.
    """
    future.add_done_callback(items.put)
    last: object = None
    try:
        while (item := _next(items)) is not future:
            if not isinstance(item, Progress):
                last = item
                yield item
        if (judged := future.result()) is not last:
            yield judged
    finally:
        future.cancel()


def last(stream: Generator[Any, None, None], on_text: Callable[[str], None] | None) -> Any:
    """The final judgement of a stream, whose text goes to `on_text`."""
    judged = None
    with closing(stream):
        for item in stream:
            if not isinstance(item, str):
                judged = item
            elif on_text is not None:
                on_text(item)
    return judged


def _next(items: SimpleQueue[Item]) -> Item:
    """The next item, waited for in short pieces: between them an interrupt is noticed."""
    while True:
        with suppress(Empty):
            return items.get(timeout=_LOOK_SECONDS)
