"""Answers that are given up when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgecritic.server.failures import Failure

_STILL_HERE = b": waiting\n\n"
_STILL_HERE_S = 10.0
_CLIENT_GONE = 499
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def answered(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """What `work` returns; when the client goes before, the work is cancelled.

    Raises:
        Failure: the work did.
    """
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=_CLIENT_GONE)
    finally:
        for task in (working, going):
            await _ended(task)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, Failure):
            await task


class EventStream(Response):
    """Server-sent events.

    Args:
        events: encoded.
        leave: called when all are sent, or the client has gone.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], leave: Callable[[], None]) -> None:
        super().__init__()
        self._events = events
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events, or as many as the client stays for."""
        sending = asyncio.ensure_future(self._send_all(send))
        going = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, going}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, going):
                await _ended(task)
            self._leave()

    async def _send_all(self, send: Send) -> None:
        async def say(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        async with aclosing(self._events) as events:
            following = asyncio.ensure_future(anext(events, None))
            try:
                while True:
                    done, _ = await asyncio.wait({following}, timeout=_STILL_HERE_S)
                    if not done:
                        await say(_STILL_HERE)
                        continue
                    if (event := following.result()) is None:
                        break
                    await say(event)
                    following = asyncio.ensure_future(anext(events, None))
            finally:
                await _ended(following)
        await say(b"", more=False)


def event(name: str, data: object) -> bytes:
    """One event with a name."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
