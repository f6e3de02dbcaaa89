"""Answers and server-sent events to JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from http.client import IncompleteRead
from typing import Any, TypeAlias

from edgecritic.errors import BackendUnavailableError, shown

JsonObject: TypeAlias = dict[str, Any]
_END = b"[DONE]"


def decoded(content: bytes, where: str) -> JsonObject:
    """The JSON object that an endpoint sent; NaN and infinities in it become None.

    Raises:
        BackendUnavailableError: it is none; a web page, for example.
    """
    try:
        value = json.loads(content, parse_constant=lambda _name: None)
    except (ValueError, RecursionError) as error:
        raise _no_object(content, where) from error
    if not isinstance(value, dict):
        raise _no_object(content, where)
    return value


def _no_object(content: bytes, where: str) -> BackendUnavailableError:
    start = content[:200].decode(errors="replace").strip()
    return BackendUnavailableError(
        f"{where} answered with something else than a JSON object: {shown(start)}",
        "check the address: it is that of an OpenAI-compatible API, and often ends with /v1",
    )


def events(chunks: Iterable[bytes], where: str) -> Iterator[JsonObject]:
    """The objects of a stream of server-sent events, until one says that all were sent.

    Raises:
        BackendUnavailableError: an event is no JSON object.
        IncompleteRead: the stream ended, and nothing had said so.

    Source: HTML Living Standard, section 9.2.6, without event names, ids and retries.
    """
    said: list[bytes] = []
    finished = False
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            said.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif not line and said:
            data = b"\n".join(said)
            said.clear()
            if data.strip() == _END:
                return
            event = decoded(data, where)
            finished = finished or _finishes(event)
            yield event
    if not finished:
        raise IncompleteRead(b"\n".join(said))


def _finishes(event: JsonObject) -> bool:
    """Not every endpoint sends an end; then a reason for finishing has to do."""
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines without their ends, and an empty one behind the last."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
    if rest.strip().endswith(_END):  # the end of the stream may lack the end of its line
        yield rest.strip()
    yield b""
