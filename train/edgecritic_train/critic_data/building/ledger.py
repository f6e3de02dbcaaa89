"""The ledger of a build: every answer of a teacher, appended once and never changed.

It is the cache that a run resumes from and the log that tells afterwards who was asked what, how,
when and for how much; see `Journal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgecritic.verdict import Winner
from edgecritic_train.critic_data.journal import Journal

Outcome: TypeAlias = Literal["ok", "unparsed", "refused"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer.

    Attributes:
        key: see `ask_key`.
        outcome: ``refused`` where the question could not be put at all.
        verdict: level or winner; None unless `outcome` is ``ok``.
        reason: in words.
        why: what was wrong with a refused question.
        confidence: of the verdict, or None.
        prompt_tokens: read.
        output_tokens: written.
        seconds: of waiting.
        id: the row that was asked for.
        teacher: who was asked.
        template: dialect, hash and wording of the prompt, and the template's name.
        at: when, in ISO 8601, UTC.
    """

    key: str
    outcome: Outcome
    verdict: int | Winner | None = None
    reason: str = ""
    why: str = ""
    confidence: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    id: str = ""
    teacher: str = ""
    template: str = ""
    at: str = ""


class Ledger(Journal[Entry]):
    """A ledger that is open for appending. Several threads may append.

    Args:
        path: of the file; its folder is made.
        reuse: further ledgers whose answers count as given, such as those of earlier builds.

    Raises:
        ArtifactError: a file cannot be read or written.
    """

    def __init__(self, path: Path, reuse: tuple[Path, ...] = ()) -> None:
        super().__init__(path, _entry, asdict, reuse)

    def append(self, entry: Entry) -> None:
        """Write an answer with the time, on the disk when this returns.

        Raises:
            ArtifactError: the disk is full. What was answered before is kept.
        """
        at = entry.at or datetime.now(UTC).isoformat("T", "seconds")
        super().append(replace(entry, at=at))


def _entry(data: Mapping[str, Any]) -> Entry:
    entry = Entry(**data)
    known = entry.outcome in ("ok", "unparsed", "refused")
    if not entry.key or not known or (entry.outcome == "ok") != (entry.verdict is not None):
        raise ValueError("no entry")
    return entry
