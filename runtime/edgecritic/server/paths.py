"""The paths that clients really call.

Some take a base URL and add to it, some take the whole URL, and some do both: the same server is
called at ``/v1``, ``/chat/completions`` and ``/v1/chat/completions/chat/completions``.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

CHAT = "/v1/chat/completions"
_PREFIX = r"(?:/v1|/openai|/chat/completions|/completions)*"
_ALIASES = (
    (re.compile(rf"{_PREFIX}/chat/completions"), CHAT),
    (re.compile(rf"{_PREFIX}/completions"), "/v1/completions"),
    (re.compile(rf"{_PREFIX}/models"), "/v1/models"),
    (re.compile(r"(?:/v1|/v2)*/rerank"), "/v1/rerank"),
    (re.compile(r"(?:/v1)*/score"), "/v1/score"),
)
_BARE = ("", "/v1", "/v1/v1")


def canonical(method: str, path: str) -> str:
    """The path that is meant; every other one as it is."""
    plain = re.sub("/+", "/", path).rstrip("/")
    if method == "POST" and plain in _BARE:
        return CHAT
    return next((meant for form, meant in _ALIASES if form.fullmatch(plain)), path)


class Aliases:
    """Middleware that finds the path that is meant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "http":
            scope = {**scope, "path": canonical(scope["method"], scope["path"])}
        await self._app(scope, receive, send)
