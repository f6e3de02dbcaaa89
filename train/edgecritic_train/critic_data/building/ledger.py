"""The ledger of a build: every answer of a teacher, appended once and never changed.

It is the cache that a run resumes from and the log that tells afterwards who was asked what, how,
when and for how much. One JSON object a line; a line that a crash cut off is passed over, and the
question is put again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self, TypeAlias

from edgecritic.errors import ArtifactError
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.writing import writing

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


class Ledger:
    """A ledger that is open for appending. Several threads may append.

    Args:
        path: of the file; its folder is made.
        reuse: further ledgers whose answers count as given, such as those of earlier builds.

    Raises:
        ArtifactError: a file cannot be read or written.
    """

    def __init__(self, path: Path, reuse: tuple[Path, ...] = ()) -> None:
        self._lock = Lock()
        self._path = path
        self.entries: dict[str, Entry] = {}
        self.n_torn = 0
        try:
            for known in (*reuse, *((path,) if path.exists() else ())):
                self._read(known)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            if self._file.tell() and not _ends_with_newline(path):
                self._file.write(b"\n")
        except OSError as error:
            raise ArtifactError(
                f"the ledger {error.filename or path} cannot be used: {error.strerror or error}",
                "check the path, its rights, and the space on its disk",
            ) from error

    def get(self, key: str) -> Entry | None:
        """The last answer to a question."""
        return self.entries.get(key)

    def append(self, entry: Entry) -> None:
        """Write an answer, on the disk when this returns.

        Raises:
            ArtifactError: the disk is full. What was answered before is kept.
        """
        stamped = {**asdict(entry), "at": entry.at or datetime.now(UTC).isoformat("T", "seconds")}
        line = json.dumps(stamped, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self.entries[entry.key] = entry
            with writing(self._path):
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = _entry(json.loads(line))
                except (ValueError, TypeError):  # cut off by a crash
                    self.n_torn += 1
                    continue
                self.entries[entry.key] = entry


def _entry(data: Mapping[str, Any]) -> Entry:
    entry = Entry(**data)
    known = entry.outcome in ("ok", "unparsed", "refused")
    if not entry.key or not known or (entry.outcome == "ok") != (entry.verdict is not None):
        raise ValueError("no entry")
    return entry


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
