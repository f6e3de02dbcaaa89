"""Counts every answer by path and status."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecritic.server.metrics import Metrics


class Counting:
    """Middleware; a path that is not known counts as ``other``, so that nobody fills the metrics.

    Args:
        app: what is behind.
        metrics: count.
        known: paths that are counted by themselves.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, known: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._known = frozenset(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and look at the status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in self._known else "other"
                self._metrics.count("requests_total", path=path, status=str(message["status"]))
            await send(message)

        await self._app(scope, receive, counted)
