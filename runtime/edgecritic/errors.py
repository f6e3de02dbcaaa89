"""What can go wrong, each with the hint that mends it."""

from __future__ import annotations

_SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """A foreign value as messages quote it: its `repr`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class CriticError(Exception):
    """Base of every error that edgecritic raises on purpose.

    Args:
        message: what happened, where, and the value that caused it.
        hint: what mends it, as a command or an instruction; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InputError(CriticError):
    """A question, response, rubric or option that cannot be judged as given."""


class ImageError(InputError):
    """A picture that cannot be decoded, or is larger than the limits allow."""


class ContextOverflowError(InputError):
    """A request with more tokens than the critic's context holds."""


class ArtifactError(CriticError):
    """A bundle or one of its files is missing, damaged or not what it says it is."""


class DoesNotFitError(CriticError):
    """A critic that is larger than the memory or the disk; `force` tries nevertheless."""


class BackendUnavailableError(CriticError):
    """No engine that can run this bundle is installed, or the engine failed to start."""


class QueueFullError(CriticError):
    """A critic at which as many requests wait as may; ask again later.

    Args:
        waiting: requests that wait.
        limit: how many may.
    """

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(
            f"{waiting} requests wait and at most {limit} may",
            "ask again when some are done, or load the critic with a larger queue_limit",
        )
        self.waiting = waiting
        self.limit = limit


class MissingExtraError(BackendUnavailableError):
    """A part of edgecritic was used whose optional dependencies are not installed."""


class VerdictParseError(CriticError):
    """Model output from which no verdict can be read.

    The judge API turns it into ``status="unparsed"``. Only `Critic.best_of_n` raises it: an index
    cannot say so.
    """
