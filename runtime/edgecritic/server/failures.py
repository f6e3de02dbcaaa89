"""What a request that cannot be answered is told: a status, and the reason as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    ContextOverflowError,
    CriticError,
    ImageError,
    InputError,
)

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass
class Failure(Exception):
    """An answer that says what was wrong.

    Attributes:
        status: of HTTP.
        code: one word for programs.
        message: what, where, the value.
        hint: what mends it; may be empty.
        headers: to send with it.
    """

    status: int
    code: str
    message: str
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent; the names are OpenAI's, and `hint` is ours."""
        return {
            "error": {
                "message": self.message,
                "hint": self.hint,
                "type": _TYPES.get(self.status, "server_error"),
                "code": self.code,
            }
        }

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> Failure:
        """The failure whose `body` another process has sent."""
        error = body["error"]
        status = _STATUS_OF_CODE.get(error["code"], 500)
        return cls(status, error["code"], error["message"], error["hint"])


def bad_request(message: str, hint: str = "", code: str = "bad_input") -> Failure:
    """A 400."""
    return Failure(400, code, message, hint)


UNAVAILABLE = "model_unavailable"
# From the special to the general: the first that fits counts.
_STATUS: tuple[tuple[type[CriticError], int, str], ...] = (
    (ContextOverflowError, 400, "context_length_exceeded"),
    (ImageError, 400, "bad_image"),
    (InputError, 400, "bad_input"),
    (ArtifactError, 503, UNAVAILABLE),
    (BackendUnavailableError, 503, UNAVAILABLE),
    (CriticError, 500, "judging_failed"),
)
_STATUS_OF_CODE = {code: status for _, status, code in _STATUS}


def failure_of(error: CriticError) -> Failure:
    """How a critic's error is told."""
    status, code = next((s, c) for kind, s, c in _STATUS if isinstance(error, kind))
    return Failure(status, code, error.message, error.hint)


UNEXPECTED = Failure(
    500,
    "internal_error",
    "the server failed in a way that was not foreseen",
    "the server's stderr tells more; please report it",
)


def crashed(what: str) -> Failure:
    """The process of a model ended in the middle of something."""
    return Failure(
        502,
        "worker_crashed",
        f"the process that holds the model ended while it was {what}",
        "send the request again: the process is started anew; if it ends again, see its stderr",
    )
