"""From bytes on a socket to JSON that is what its schema says."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from edgecritic.server.failures import Failure, bad_request
from edgecritic.server.schema.check import Schema, check
from edgecritic.server.service import Service
from edgecritic.strict_json import decode

_LARGE = 1 << 16
_BUSY = Failure(
    503,
    "too_much_at_once",
    "too many large requests are arriving at once",
    "send the request again",
    {"Retry-After": "1"},
)


async def read_json(request: Request, schema: Schema, service: Service) -> dict[str, Any]:
    """The body of a request.

    Raises:
        Failure: it is too large (413), too much is arriving at once (503), it does not come (408),
            is not called JSON (415), or is not what the schema says (400).
    """
    _check_type(request)
    body = await _read(request, service)
    if len(body) > _LARGE:  # this takes a moment in which others are to be answered
        return await asyncio.to_thread(_checked, body, schema)
    return _checked(body, schema)


def _check_type(request: Request) -> None:
    """A web page can send forms and plain text anywhere, unasked; JSON it cannot."""
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "").partition("charset=")[2]
    if kind.strip() != "application/json" or charset.partition(";")[0] not in ("", "utf-8", "utf8"):
        raise Failure(
            415,
            "not_json",
            f"the content type is {request.headers.get('content-type', '')[:80]!r}",
            "send JSON as application/json in UTF-8",
        )
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Failure(
            415, "encoded_body", f"the body is encoded: {encoding[:80]!r}", "send it plain"
        )


async def _read(request: Request, service: Service) -> bytes:
    limits = service.options.limits
    most = limits.body_bytes
    too_large = Failure(
        413, "body_too_large", f"the body has over {most:,} bytes", "send smaller or fewer pictures"
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 12 or int(length) > most):
        raise too_large
    received = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                received += chunk
                service.arriving += len(chunk)
                if len(received) > most:
                    raise too_large
                if service.arriving > limits.bodies_bytes:
                    raise _BUSY
    except TimeoutError:
        raise Failure(
            408, "body_too_slow", f"the body was not sent within {limits.body_s:g} s", "try again"
        ) from None
    finally:
        service.arriving -= len(received)
    return bytes(received)


def _checked(body: bytes, schema: Schema) -> dict[str, Any]:
    try:
        value: dict[str, Any] = decode(body.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise bad_request(
            f"the body is no JSON: {str(error)[:200]}", "send one JSON object in UTF-8", "bad_json"
        ) from None
    check(value, schema)
    return value
