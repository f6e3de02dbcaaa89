"""edgecritic: a local, quantized multimodal critic.

Examples:
    >>> from edgecritic import Critic
    >>> with Critic.load() as critic:
    ...     verdict = critic.score("seven.png", "Which digit is this?", "It is a 7.")
    ...     print(verdict.score, verdict.rationale)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    ContextOverflowError,
    CriticError,
    DoesNotFitError,
    ImageError,
    InputError,
    MissingExtraError,
    QueueFullError,
    VerdictParseError,
)
from edgecritic.progress import Progress
from edgecritic.requests import CompareRequest, ScoreRequest
from edgecritic.task import Rubric
from edgecritic.verdict import Preference, Ranking, Verdict

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken
    from edgecritic.bundle import Bundle
    from edgecritic.critic import Critic
    from edgecritic.judging.adaptive import AdaptivePlan, AdaptiveRanking

__all__ = [
    "AdaptivePlan",
    "AdaptiveRanking",
    "ArtifactError",
    "BackendUnavailableError",
    "Bundle",
    "CancelToken",
    "CompareRequest",
    "ContextOverflowError",
    "Critic",
    "CriticError",
    "DoesNotFitError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "Preference",
    "Progress",
    "QueueFullError",
    "Ranking",
    "Rubric",
    "ScoreRequest",
    "Verdict",
    "VerdictParseError",
]

# These load numpy and Pillow, which a program that only catches our errors need not wait for.
_LAZY = {
    "Bundle": "edgecritic.bundle",
    "AdaptivePlan": "edgecritic.judging.adaptive",
    "AdaptiveRanking": "edgecritic.judging.adaptive",
    "CancelToken": "edgecritic.backends.base",
    "Critic": "edgecritic.critic",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
