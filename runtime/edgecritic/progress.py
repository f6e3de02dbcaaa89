"""What a critic tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgecritic.verdict import Preference, Verdict

Stage: TypeAlias = Literal["loading", "image", "prefill", "token"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is.

    Attributes:
        stage: ``loading`` a critic, encoding its ``image`` (in tiles), reading the prompts
            (``prefill``, in tokens, all orders together), or writing the rationale (``token``).
        done: units that are done; of prompts also those that were kept from before. The last
            report says `total`, but for a rationale.
        total: units in all; of a rationale the most that it may have.
    """

    stage: Stage
    done: int
    total: int


Event: TypeAlias = Progress | Verdict | Preference | str
"""Progress; the judgement once, as soon as it is known; the rationale's pieces."""

OnEvent: TypeAlias = Callable[[Event], None]

Tell: TypeAlias = Callable[[str], None]
"""Is told what goes on, one line each time."""
