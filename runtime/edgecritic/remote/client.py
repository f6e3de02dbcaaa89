"""JSON over HTTP with the standard library: bounded, retried where that may help, never redirected.

Everything here blocks, in the thread of a `Call`, whose line closes the socket when nobody waits
any more.
"""

from __future__ import annotations

import json
import logging
import random
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from time import monotonic
from typing import TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from edgecritic.errors import BackendUnavailableError, CriticError
from edgecritic.remote.address import Address
from edgecritic.remote.calls import Line
from edgecritic.remote.events import JsonObject, decoded, events
from edgecritic.remote.failures import (
    Passing,
    connection_failure,
    oversized,
    stated_failure,
    status_failure,
    too_slow,
)
from edgecritic.remote.options import RemoteOptions
from edgecritic.remote.reply import read_reply

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_ANSWER_BYTES = 16 << 20
"""Of one answer; a verdict and its reason take some kilobytes, with all log-probabilities."""

_MAX_ERROR_BYTES = 1 << 16
_CHUNK = 1 << 16
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0


class _Deadline:
    """When waiting for an answer, or for the next event of one, ends."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        self._at = monotonic() + self._seconds

    @property
    def passed(self) -> bool:
        return monotonic() > self._at


class Client:
    """Posts to one endpoint. Safe to use from several threads.

    Args:
        address: of the endpoint.
        options: timeout and retries.
    """

    def __init__(self, address: Address, options: RemoteOptions) -> None:
        self.address = address
        self._timeout = options.timeout
        self._retries = options.retries
        self._has_answered = False

    def post(self, body: JsonObject, line: Line) -> JsonObject:
        """The JSON object that answers `body`.

        Raises:
            BackendUnavailableError: there is none, after all retries; `Refused`, which is one,
                where the endpoint does not take such a request.
            ContextOverflowError: the request is too long for the model.
            Cut: nobody waits any more.
        """

        def attempt() -> JsonObject:
            with self._sent(body, line, "application/json") as response:
                content = b"".join(self._chunks(response, _Deadline(self._timeout)))
            line.check()
            if not content:
                raise IncompleteRead(b"")
            return self._completed(content)

        return self._persistently(attempt, line)

    def stream(self, body: JsonObject, line: Line, take: Callable[[JsonObject], None]) -> bool:
        """Hand out the events that answer `body` as they come.

        Returns:
            Whether they came to their end; an answer that breaks off in the middle is no error,
            since what was said cannot be taken back.

        Raises:
            BackendUnavailableError: as `post`, if nothing came at all.
            ContextOverflowError: as `post`.
            Cut: nobody waits any more.
        """
        taken = False

        def attempt() -> bool:
            nonlocal taken
            try:
                with self._sent(body, line, "text/event-stream") as response:
                    for event in self._events(response):
                        line.check()
                        take(event)
                        taken = True
            except (Passing, CriticError, OSError, HTTPException) as failure:
                line.check()
                if not taken:
                    raise
                logger.warning("the answer of %s broke off: %s", self.address.name, failure)
                return False
            return True

        return self._persistently(attempt, line)

    def _persistently(self, attempt: Callable[[], Result], line: Line) -> Result:
        number = 0
        while True:
            try:
                return self._once(attempt, line)
            except Passing as failure:
                if number == self._retries or failure.retry_after > _LONGEST_WAIT:
                    raise failure.error from failure.__cause__
                # Doubled each time, and never the same for many clients that failed together.
                wait = _FIRST_WAIT * 2**number * random.uniform(0.5, 1.0)
                wait = max(wait, failure.retry_after * random.uniform(1.0, 1.1))
                logger.info("%s; trying again in %.1f s", failure.error.message, wait)
            line.sleep(wait)
            number += 1

    def _once(self, attempt: Callable[[], Result], line: Line) -> Result:
        line.check()
        try:
            return attempt()
        except (OSError, HTTPException) as error:
            line.check()  # a line that was cut looks like a broken one
            raise connection_failure(error, self.address, self._timeout) from error

    @contextmanager
    def _sent(self, body: JsonObject, line: Line, accept: str) -> Iterator[HTTPResponse]:
        """Post; the response, once its status says that it is an answer, closed at the end."""
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": accept,
            "Accept-Encoding": "identity",
            "User-Agent": "edgecritic",
            "Connection": "close",
        }
        if self.address.key:
            headers["Authorization"] = f"Bearer {self.address.key}"
        with closing(self._connection()) as connection:
            try:
                connection.connect()
            except TimeoutError as error:
                raise Passing(too_slow(self.address, self._timeout)) from error
            line.hold(connection.sock)
            connection.request("POST", self.address.target, content, headers)
            with connection.getresponse() as response:
                if response.status != 200:
                    said = response.read(_MAX_ERROR_BYTES).decode(errors="replace")
                    raise status_failure(response.status, response.headers, said, self.address)
                yield response

    def _connection(self) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self.address.scheme == "http":
            return HTTPConnection(host, port, timeout=self._timeout)
        proxy = None if proxy_bypass(host) else getproxies().get("https")
        if proxy is None:
            return HTTPSConnection(host, port, timeout=self._timeout, context=self._trust)
        way = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        connection = HTTPSConnection(
            way.hostname or "", way.port or 8080, timeout=self._timeout, context=self._trust
        )
        headers = {}
        if way.username is not None:
            user = f"{unquote(way.username)}:{unquote(way.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        connection.set_tunnel(host, port, headers)
        return connection

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _events(self, response: HTTPResponse) -> Iterator[JsonObject]:
        """The events of a stream, up to the one that ends it."""
        deadline = _Deadline(self._timeout)
        chunks = self._chunks(response, deadline)
        if response.headers.get_content_type() == "application/json":  # it knows no streams
            yield self._checked(decoded(b"".join(chunks), self.address.name))
            return
        for event in events(chunks, self.address.name):
            deadline.renew()
            yield self._checked(event)

    def _completed(self, content: bytes) -> JsonObject:
        """A whole answer; once one was right, something else is a mishap on its way."""
        try:
            answer = self._checked(decoded(content, self.address.name))
            read_reply(answer, self.address.name)
        except BackendUnavailableError as error:
            if self._has_answered:
                raise Passing(error) from error
            raise
        self._has_answered = True
        return answer

    def _checked(self, answer: JsonObject) -> JsonObject:
        """Some endpoints report a failure with status 200."""
        if answer.get("error"):
            raise stated_failure(answer["error"], self.address)
        return answer

    def _chunks(self, response: HTTPResponse, deadline: _Deadline) -> Iterator[bytes]:
        """The body in pieces, as they come."""
        total = 0
        while chunk := response.read1(_CHUNK):
            total += len(chunk)
            if total > MAX_ANSWER_BYTES:
                raise oversized(self.address, MAX_ANSWER_BYTES)
            if deadline.passed:
                raise too_slow(self.address, self._timeout)
            yield chunk
        if response.length:  # read1 does not notice that bytes are missing
            raise IncompleteRead(b"", response.length)
