"""Who may call: checked before a request is read.

A page in the user's browser can send requests to this machine, and by rebinding its own name to
127.0.0.1 even read the answers. So the Host header must be one of ours, an Origin must be our own
or one that the operator named, and no answer allows others to read it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecritic.errors import shown
from edgecritic.server.failures import Failure, bad_request
from edgecritic.server.options import ServerOptions, is_loopback

_ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_API: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_DECISIVE = (
    "host",
    "origin",
    "sec-fetch-site",
    "authorization",
    "content-type",
    "content-encoding",
)
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Max-Age": "600",
}


class Gate:
    """Middleware that lets in what may come in, and signs what goes out.

    Args:
        app: what is behind.
        options: of the server.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app = app
        self._token = options.token.encode()
        self._hosts = {"localhost", options.host.lower(), *map(str.lower, options.allowed_hosts)}
        self._origins = frozenset(options.allowed_origins)
        self._loopback = is_loopback(options.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        try:
            _check_once(headers)
            self._check_host(headers)
            self._check_origin(headers)
            if scope["method"] == "OPTIONS" and origin in self._origins:
                answer: ASGIApp = Response(status_code=204, headers=dict(_PREFLIGHT))
            else:
                self._check_token(scope, headers)
                answer = self._app
        except Failure as failure:
            answer = JSONResponse(failure.body, failure.status, dict(failure.headers))
        allowed = origin if origin in self._origins else None
        await answer(scope, receive, _signing(send, allowed))

    def _check_host(self, headers: Headers) -> None:
        """Addresses may be spelled out: only names can be rebound."""
        host = headers.get("host", "")
        name = _name(host)
        if name in self._hosts or _is_address(name, self._loopback):
            return
        raise Failure(
            403,
            "host_refused",
            f"the server is called by the name {shown(host)}, which is not its own",
            "call it by its address, or start it with --allow-host",
        )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        own = {f"{scheme}://{headers.get('host', '').lower()}" for scheme in ("http", "https")}
        if origin is not None and origin.lower() not in own and origin not in self._origins:
            raise _foreign(origin)
        if origin is None and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise _foreign("another site")

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if not self._token or _is_page(scope["path"]):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1", errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            raise Failure(
                401,
                "token_needed",
                "the request carries no valid token",
                "send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )


def _check_once(headers: Headers) -> None:
    """What is decided by a header must not depend on which of two is read."""
    for name in _DECISIVE:
        if len(headers.getlist(name)) > 1:
            raise bad_request(f"the header {name} occurs twice", "send it once")


def _is_page(path: str) -> bool:
    return path == "/" or path.startswith("/assets/")


def _name(host: str) -> str:
    """The host without its port, lower case."""
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        whole = bool(closed) and colon in ("", ":")
    else:
        name, _, port = host.partition(":")
        whole = True
    return name.lower() if whole and (not port or port.isdecimal()) else host


def _is_address(name: str, loopback_only: bool) -> bool:
    try:
        return ip_address(name).is_loopback or not loopback_only
    except ValueError:
        return False


def _foreign(origin: str) -> Failure:
    return Failure(
        403,
        "origin_refused",
        f"the request comes from a web page of {shown(origin)}",
        "start the server with --allow-origin if that page may call it",
    )


def _signing(send: Send, origin: str | None) -> Send:
    """`send` with the headers that every answer carries."""

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in {**_API, **_ALWAYS}.items():
                headers.setdefault(name, value)
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return signed
