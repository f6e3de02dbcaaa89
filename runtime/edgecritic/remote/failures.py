"""What an endpoint or the way to it may do wrong, told so that it can be mended."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException

from edgecritic.errors import (
    BackendUnavailableError,
    ContextOverflowError,
    CriticError,
)
from edgecritic.remote.address import Address

_PASSING = frozenset({408, 429, 500, 502, 503, 504, 529})
_MAX_SAID = 300
_TOO_LONG = re.compile(
    r"maximum context|context[ _](?:length|window|size)|too many tokens|prompt is too long",
    re.IGNORECASE,
)

_HINTS = {
    401: "its key was sent: check it, and that it is this endpoint's",
    403: "its key was sent: check what it allows",
    404: "check the address, which often ends with /v1, and the model's name",
}
_NO_KEY = "set the endpoint's key as EDGECRITIC_API_KEY in the environment"
_HINTS_WITHOUT_KEY = {401: _NO_KEY, 403: _NO_KEY}


class Passing(Exception):
    """Something that may be gone at the next attempt.

    Attributes:
        error: what to raise if it is not.
        retry_after: seconds that the endpoint asks to wait; 0 if it does not.
    """

    def __init__(self, error: CriticError, retry_after: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after


class Refused(BackendUnavailableError):
    """The endpoint does not take the request as it is.

    Attributes:
        said: why: the whole body of its answer.
    """

    def __init__(self, message: str, hint: str, said: str) -> None:
        super().__init__(message, hint)
        self.said = said


def status_failure(
    status: int, headers: Message, said: str, address: Address
) -> CriticError | Passing:
    """The failure that a status other than 200 stands for.

    Args:
        status: of the response.
        headers: of the response.
        said: its body.
        address: where it came from.
    """
    if 300 <= status < 400:
        return _redirected(headers, address)
    told = _told(said, address)
    message = f"{address.name} answered {status}" + (f": {told}" if told else "")
    if status == 429 and "insufficient_quota" in said:
        return BackendUnavailableError(message, "the account behind the key has no credit left")
    # An engine that cannot do what was asked for is often reported as if it had broken down.
    if status in _PASSING and not (status == 500 and "logprobs" in told):
        hint = "the endpoint is overloaded or broken: try again later"
        return Passing(BackendUnavailableError(message, hint), _retry_after(headers))
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(told)):
        hint = "shorten the texts, or send fewer or smaller pictures: RemoteOptions(longest_side=)"
        return ContextOverflowError(message, hint)
    if status in _HINTS:
        hint = _HINTS[status] if address.key else _HINTS_WITHOUT_KEY.get(status, _HINTS[status])
        return BackendUnavailableError(message, hint)
    return Refused(message, "the endpoint or the model cannot do what a critic needs", said)


def stated_failure(error: object, address: Address) -> CriticError:
    """A failure that an endpoint reports with status 200."""
    told = _told(json.dumps({"error": error}), address)
    return BackendUnavailableError(f"{address.name} failed: {told}", "see the endpoint's log")


def connection_failure(
    error: OSError | HTTPException, address: Address, timeout: float
) -> CriticError | Passing:
    """The failure that an exception of the network stands for."""
    if isinstance(error, TimeoutError):
        return too_slow(address, timeout)
    if isinstance(error, ssl.SSLCertVerificationError):
        return BackendUnavailableError(
            f"the certificate of {address.place} is not trusted: {error.verify_message}",
            "if it is your own host, name its authority's certificate: SSL_CERT_FILE=ca.pem",
        )
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return BackendUnavailableError(f"there is no host {address.host!r}", "check the address")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
    return Passing(
        BackendUnavailableError(
            f"{address.name} cannot be reached: {reason}", "check that the endpoint is running"
        )
    )


def too_slow(address: Address, timeout: float) -> BackendUnavailableError:
    """Nothing came in time."""
    return BackendUnavailableError(
        f"{address.name} did not answer within {timeout:g} s",
        "raise the timeout where the model is slow: RemoteOptions(timeout=), --timeout",
    )


def oversized(address: Address, limit: int) -> BackendUnavailableError:
    """More came than any answer has."""
    return BackendUnavailableError(
        f"{address.name} sent over {limit >> 20} MiB in one answer",
        "check the address: this is no sound chat endpoint",
    )


def _redirected(headers: Message, address: Address) -> BackendUnavailableError:
    where = _clean(str(headers.get("Location", "nowhere")), address)
    return BackendUnavailableError(
        f"{address.name} redirects to {where}, and redirections are not followed, since pictures "
        "and key would go there",
        "give that address if you trust it",
    )


def _retry_after(headers: Message) -> float:
    """Seconds, from either of the header's forms (RFC 9110, section 10.2.3)."""
    value = str(headers.get("Retry-After", "")).strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _told(body: str, address: Address) -> str:
    """What a body says went wrong: OpenAI's form, FastAPI's, or its beginning."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = body
    for key in ("error", "detail", "message"):
        if isinstance(said, Mapping) and said.get(key):
            said = said[key]
    text = said if isinstance(said, str) else json.dumps(said)
    return _clean(text, address)


def _clean(text: str, address: Address) -> str:
    """One short line, without the key, which some endpoints repeat."""
    if address.key:
        text = text.replace(address.key, "[key]")
    text = " ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", " ", text).split())
    return text if len(text) <= _MAX_SAID else text[: _MAX_SAID - 3] + "..."
