"""Tables of (image, question, responses) with whatever verdicts they hold.

Columns, all optional but ``question`` and the responses:

=====================  ============================================================================
``image``, ``images``  see `edgecritic_train.critic_data.sources.images`
``question``           what was asked
the responses          by any of the names in `edgecritic.response_columns`; the first of
                       ``chosen`` and ``rejected`` is the winner, whose place is drawn
``reference``          a right answer
``score``, ``scores``  for each response, on the range that the caller states
``winner``             ``first``, ``second``, ``tie``; also ``1``/``2``, ``A``/``B``/``C``,
                       ``[[A>B]]`` and its like
``reason``             of the winner or of the only response
``reasons``            for each response
``id``, ``source``, ``group``, ``split``, ``judge``   as in `CriticRow`; cases that name no group
                       and show the same first picture are one
=====================  ============================================================================

Columns of other names are mapped by the caller; columns that nobody names are passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from edgecritic.errors import CriticError, InputError, shown
from edgecritic.parsing import parse_winner
from edgecritic.response_columns import (
    PREFERENCE,
    RESPONSE_COLUMNS,
    is_response_column,
    responses_in,
    unpacked,
)
from edgecritic.tables import Record, filled, scan_records
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import SPLITS, ImageFile, ImageRef, Split
from edgecritic_train.critic_data.sources.images import image_refs
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.templates import stable_number

COLUMNS = (
    *("id", "image", "images", "question"),
    *("reference", "score", "scores", "winner", "reason", "reasons"),
    *("source", "group", "split", "judge"),
)
_WINNERS: Mapping[str, Winner] = {
    "first": "first",
    "1": "first",
    "a": "first",
    "second": "second",
    "2": "second",
    "b": "second",
    "tie": "tie",
    "c": "tie",
    "equal": "tie",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A question about pictures, its responses, and what is known of them.

    Attributes:
        id: unique in its table.
        question: what was asked.
        responses: at least one.
        images: may be empty.
        reference: a right answer, or None.
        scores: for each response as it was written, None where there is none.
        winner: of exactly two responses, or None.
        reason: of the winner or of the only response; may be empty.
        reasons: for each response; empty texts where nobody said.
        source: the collection.
        group: what must not be cut by a split; the id where it is left empty.
        split: what it is for.
        judge: who gave scores or winner.
        place: ``file:line`` that it was read from, for messages.
    """

    id: str
    question: str
    responses: tuple[str, ...]
    images: tuple[ImageRef, ...] = ()
    reference: str | None = None
    scores: tuple[str | None, ...] = ()
    winner: Winner | None = None
    reason: str = ""
    reasons: tuple[str, ...] = ()
    source: str = ""
    group: str = ""
    split: Split = "train"
    judge: str = ""
    place: str = ""

    @property
    def named(self) -> str:
        """What messages call it."""
        return f"{self.place}: case {self.id}" if self.place else f"case {self.id}"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How to read a table.

    Attributes:
        columns: our name of a column to the table's.
        source: of rows that name none; the file's name without its ending when left empty.
    """

    columns: Mapping[str, str]
    source: str = ""

    def __post_init__(self) -> None:
        for name in self.columns:
            if not _is_known(name):
                known = ", ".join((*COLUMNS, *RESPONSE_COLUMNS))
                raise InputError(f"there is no column {shown(name)} to fill", f"known: {known}")


def read_cases(
    path: Path, options: TableOptions, store: PictureStore, intake: Intake
) -> Iterator[Case]:
    """The cases of a table; records that make none are dropped and counted.

    Raises:
        InputError: the table cannot be read, lacks a mapped column, or a record makes no case and
            the intake is strict; the message names file, line and value.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    source = options.source or path.stem
    seen: set[str] = set()
    columns = _Columns(path, set(options.columns.values()))
    for number, (place, record) in enumerate(scan_records(path)):
        columns.see(record)
        try:
            if isinstance(record, InputError):
                raise InputError(record.message.removeprefix(f"{place}: "), record.hint)
            named = _named(filled(path, record), options.columns)
            case = _case(named, f"{source}-{number:06d}", source, path.parent, store)
            if case.id in seen:
                raise InputError(f"the id {shown(case.id)} came before", "give each its own")
        except CriticError as error:
            intake.drop(source, _kind_of(error), place, error)
            continue
        seen.add(case.id)
        yield replace(case, place=place)
    columns.all_seen()


def _kind_of(error: CriticError) -> str:
    """What went wrong, without the values, so that like cases are counted together."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+(\.\d+)?", "…", error.message)[:80]


@dataclass(slots=True)
class _Columns:
    """Sees to it that the columns that a caller maps are there.

    A table with a header has them in its first record, JSON Lines in any.
    """

    path: Path
    absent: set[str]
    record: Record = field(default_factory=dict)

    def see(self, record: Record | InputError) -> None:
        if isinstance(record, InputError):
            return
        self.record = record
        self.absent -= record.keys()
        if self.path.suffix.lower() not in (".jsonl", ".ndjson"):
            self.all_seen()

    def all_seen(self) -> None:
        if self.absent and self.record:
            raise InputError(
                f"{self.path} has no column {shown(min(self.absent))}",
                f"it has: {', '.join(self.record)}",
            )


def _named(record: Record, columns: Mapping[str, str]) -> dict[str, Any]:
    taken = set(columns.values())
    named = {k: v for k, v in record.items() if k not in taken and _is_known(k)}
    named |= {name: record[column] for name, column in columns.items() if column in record}
    return {name: value for name, value in named.items() if not _missing(value)}


def _is_known(name: str) -> bool:
    return name in COLUMNS or is_response_column(name)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _case(
    named: Mapping[str, Any], fallback: str, source: str, folder: Path, store: PictureStore
) -> Case:
    case_id = str(named.get("id", fallback))
    responses, winner = _responses(named, case_id)
    cell = named.get("images", named.get("image"))
    scores = _each(named, "scores", "score", len(responses))
    reasons = _each(named, "reasons", "", len(responses))
    split = named.get("split", "train")
    if split not in SPLITS:
        raise InputError(f"the split is {shown(split)}", f"write one of {', '.join(SPLITS)}")
    images = image_refs(unpacked(cell), folder, store)
    return Case(
        id=case_id,
        question=_text(named, "question", required=True),
        responses=responses,
        images=images,
        reference=_text(named, "reference") or None,
        scores=tuple(None if _missing(score) else str(score) for score in scores),
        winner=winner,
        reason=_text(named, "reason"),
        reasons=tuple(str(reason or "") for reason in reasons),
        source=_text(named, "source") or source,
        group=str(named.get("group", "")) or _picture_name(images, folder, store) or case_id,
        split=cast(Split, split),
        judge=_text(named, "judge"),
    )


def _picture_name(images: tuple[ImageRef, ...], folder: Path, store: PictureStore) -> str:
    """The first picture, by a name that does not depend on where table and store lie."""
    if not images or not isinstance(images[0], ImageFile):
        return ""
    path = images[0].path
    if path.is_relative_to(store.folder) or not path.is_relative_to(folder):
        return path.stem  # of a stored one, the hash of its content
    return path.relative_to(folder).as_posix()


def _responses(named: Mapping[str, Any], case_id: str) -> tuple[tuple[str, ...], Winner | None]:
    """The responses and, of two, the winner that the table states."""
    form = next(iter(responses_in(named)), None)
    texts = form.texts if form else []
    if form is None or not texts:
        names = ", ".join(RESPONSE_COLUMNS)
        raise InputError(
            "there are no responses",
            f"fill some of {names}, or map columns: --column response=answer",
        )
    if form.names != PREFERENCE:
        return tuple(texts), _winner(named.get("winner"), len(texts))
    # The chosen one must not always stand first: a critic would learn the place.
    if stable_number("order", case_id) % 2:
        return tuple(reversed(texts)), "second"
    return tuple(texts), "first"


def _winner(value: object, n_responses: int) -> Winner | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    winner = _WINNERS.get(text.casefold()) or parse_winner(text)
    if winner is None:
        raise InputError(
            f"the winner is {shown(value)}", "write first, second or tie (or 1, 2; A, B, C)"
        )
    if n_responses != 2:
        raise InputError(
            f"there is a winner of {n_responses} responses", "a winner is one of exactly two"
        )
    return winner


def _each(named: Mapping[str, Any], name: str, single: str, n_responses: int) -> list[Any]:
    """A value for each response, or an empty list."""
    value = unpacked(named.get(name))
    if value is None and single in named:
        value = [named[single]]
    if value is None:
        return []
    if not isinstance(value, list | tuple) or len(value) != n_responses:
        raise InputError(
            f"{name} is {shown(value)}, and there are {n_responses} responses",
            "give a list with one for each",
        )
    return list(value)


def _text(named: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = named.get(name, "")
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}, not text", "write it as text")
    if required and not value.strip():
        raise InputError(f"{name} is empty", "fill it")
    return value
