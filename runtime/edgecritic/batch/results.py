"""The file of results: JSON Lines that only grow, so that a killed run can be gone on with.

A line is one row's outcome::

    {"row": 17, "id": "q-9", "key": "3f9c...", "kind": "score", "result": {...}, "error": null}

``result`` is what `Verdict.to_dict` or `Preference.to_dict` gives, ``error`` names what kept the
row from being judged. Lines stand in the order in which they were done. Where a row has several,
because it was tried again, the last one counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from edgecritic.batch.rows import BatchRow
from edgecritic.errors import CriticError, InputError, shown
from edgecritic.locking import exclusive
from edgecritic.requests import ScoreRequest
from edgecritic.staging import write_text
from edgecritic.verdict import Preference, Verdict


@dataclass(slots=True)
class Tally:
    """What became of rows.

    Attributes:
        judged: rows with a judgement, unreadable ones included.
        unparsed: of these, how many could not be read.
        failed: rows with an error.
        kept: rows that an earlier run had done.
    """

    judged: int = 0
    unparsed: int = 0
    failed: int = 0
    kept: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.judged + self.failed + self.kept


@dataclass(slots=True)
class Results:
    """An open file of results.

    Attributes:
        path: of the file.
        tally: what this run did.
    """

    path: Path
    tally: Tally
    _file: IO[str]
    _done: Counter[str] = field(default_factory=Counter)

    @classmethod
    @contextmanager
    def open(cls, path: Path, made_by: Mapping[str, object]) -> Iterator[Self]:
        """Begin a file, or go on with one; nobody else can meanwhile.

        Args:
            path: ends with ``.jsonl``; what says who made it is kept beside it.
            made_by: whatever changes judgements. Results of different makers cannot be mixed.

        Raises:
            InputError: the file holds other results, or is none of ours.
            CriticError: it cannot be written.
        """
        if path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise InputError(
                f"{path} does not end with .jsonl", "results are JSON Lines: name such a file"
            )
        with ExitStack() as held:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(path.with_name(f".{path.name}.lock"), _refuse(path)))
                _check_maker(path, made_by)
                _drop_torn_line(path)
                done = _finished(path)
                file = held.enter_context(path.open("a", encoding="utf-8", newline="\n"))
            except OSError as error:
                raise _unwritable(path, error) from error
            yield cls(path, Tally(), file, done)

    @property
    def n_done(self) -> int:
        """Rows that an earlier run has done and this one has not met yet."""
        return self._done.total()

    def has(self, key: str) -> bool:
        """Whether an earlier run has done a row of this content; each of its lines counts once."""
        if not self._done[key]:
            return False
        self._done[key] -= 1
        self.tally.kept += 1
        return True

    def add(self, row: BatchRow, key: str, outcome: Verdict | Preference | CriticError) -> None:
        """Append a row's outcome; when this returns, a killed process loses it no more.

        Raises:
            CriticError: the disk is full.
        """
        result = error = None
        if isinstance(outcome, CriticError):
            self.tally.failed += 1
            error = {
                "type": type(outcome).__name__,
                "message": outcome.message,
                "hint": outcome.hint,
                "final": isinstance(outcome, InputError),
            }
        else:
            self.tally.judged += 1
            self.tally.unparsed += outcome.status == "unparsed"
            result = outcome.to_dict()
        kind = None
        if not isinstance(row.asked, InputError):
            kind = "score" if isinstance(row.asked, ScoreRequest) else "compare"
        line = {"row": row.number, "id": row.id, "key": key, "kind": kind}
        try:
            self._file.write(json.dumps({**line, "result": result, "error": error}) + "\n")
            self._file.flush()
        except OSError as fault:
            raise _unwritable(self.path, fault) from fault


def _unwritable(path: Path, error: OSError) -> CriticError:
    return CriticError(f"{path} cannot be written: {error}", "check the path and the free space")


def _refuse(path: Path) -> Callable[[], None]:
    def refuse() -> None:
        raise CriticError(f"another process writes {path}", "wait for it, or name another file")

    return refuse


def _check_maker(path: Path, made_by: Mapping[str, object]) -> None:
    described = path.with_name(path.name + ".meta.json")
    before: object = None
    if described.exists():
        with suppress(ValueError):  # not ours, then
            before = json.loads(described.read_text(encoding="utf-8"))
    if before == made_by:
        return
    if path.exists() and path.stat().st_size:
        known = before if isinstance(before, dict) else {}
        names = [name for name in made_by if known.get(name) != made_by[name]]
        was = ", ".join(f"{name} was {shown(known.get(name))}" for name in names)
        raise InputError(
            f"{path} holds results that were made otherwise: {was or 'nothing says how'}",
            "name another file, or delete this one with its .meta.json",
        )
    write_text(described, json.dumps(made_by, indent=2) + "\n")


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed run left behind the last whole line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = 0
        for line in file:
            end += len(line) if line.endswith(b"\n") else 0
        file.truncate(end)


def _finished(path: Path) -> Counter[str]:
    """How often each content was done; what the engine failed at is tried again."""
    done: Counter[str] = Counter()
    if not path.exists():
        return done
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found = json.loads(line)
                key, error = str(found["key"]), found["error"]
            except (ValueError, TypeError, KeyError) as fault:
                raise InputError(
                    f"{path}:{number} is no line of results", "name another file"
                ) from fault
            done[key] += error is None or bool(error.get("final"))
    return done
