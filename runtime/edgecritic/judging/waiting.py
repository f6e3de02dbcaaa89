"""How a caller waits for judgements: Ctrl-C is noticed, and nothing is left over.

A thread waits by `results`, `told` and `last`, an event loop by `gathered`, `heard` and
`last_heard`.
"""

from __future__ import annotations

from asyncio import Queue, gather, get_running_loop, wrap_future
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import aclosing, closing, suppress
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


async def gathered(futures: Sequence[Future[Item]]) -> list[Item]:
    """`results` for asyncio; who is cancelled here stops the judgements."""
    try:
        return await gather(*map(wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()


async def heard(
    begin: Callable[[Callable[[object], None]], Future[Any]],
) -> AsyncGenerator[Any, None]:
    """`told` for asyncio.

    Args:
        begin: asks for the judgement, of which it tells the listener that it is given.
    """
    items: Queue[object] = Queue()
    loop = get_running_loop()

    def put(item: object) -> None:
        with suppress(RuntimeError):  # the loop was closed, and nobody listens
            loop.call_soon_threadsafe(items.put_nowait, item)

    future = begin(put)
    future.add_done_callback(put)
    last: object = None
    try:
        while (item := await items.get()) is not future:
            if not isinstance(item, Progress):
                last = item
                yield item
        if (judged := future.result()) is not last:
            yield judged
    finally:
        future.cancel()


async def last_heard(
    stream: AsyncGenerator[Any, None], on_text: Callable[[str], None] | None
) -> Any:
    """`last` for asyncio."""
    judged = None
    async with aclosing(stream):
        async for item in stream:
            if not isinstance(item, str):
                judged = item
            elif on_text is not None:
                on_text(item)
    return judged
