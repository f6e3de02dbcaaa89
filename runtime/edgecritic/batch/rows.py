"""Rows of a table as requests.

A row has ``question`` and either one response, which is scored, or two, of which the better one is
told; `edgecritic.response_columns` has their names. It may have ``id``, ``image`` or ``images``,
``reference``, ``rubric`` and ``wording``; other columns are passed over, so files of training rows
can be judged as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from edgecritic.batch.images import images_of
from edgecritic.errors import CriticError, InputError, shown
from edgecritic.requests import CompareRequest, Orders, Request, ScoreRequest
from edgecritic.response_columns import responses_in
from edgecritic.tables import scan_records
from edgecritic.task import Rubric, Task

Record: TypeAlias = Mapping[str, Any]
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How all rows are judged.

    Attributes:
        rationale: also say why.
        orders: of rows with two responses; see `CompareRequest`.
        rubric: for rows that name none; None for the critic's own.
        wording: for rows that name none.
        temperature: see `ScoreRequest`.
        seed: see `ScoreRequest`.
    """

    rationale: bool = False
    orders: Orders = "both"
    rubric: Rubric | None = None
    wording: int = 0
    temperature: float = 0.0
    seed: int = 0

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready form: what results are kept apart by."""
        return {
            "rationale": self.rationale,
            "orders": self.orders,
            "rubric": None if self.rubric is None else self.rubric.to_dict(),
            "wording": self.wording,
            "temperature": self.temperature,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of a table.

    Attributes:
        number: in the table, from 1.
        id: what the row calls itself, if anything.
        asked: what is to be judged, or why it cannot be.
        content: hash of all that is judged but for the pictures.
        images: its pictures, as paths or as encoded bytes.
    """

    number: int
    id: str | int | None
    asked: Request | InputError
    content: str
    images: tuple[Path | bytes, ...] = ()

    def key(self) -> str:
        """Hash (hex) of texts, rubric, wording and the pictures' bytes, which are read for it."""
        digest = hashlib.sha256(self.content.encode())
        for image in self.images:
            digest.update(_image_digest(image))
        return digest.hexdigest()[:32]


def read_rows(path: Path, options: BatchOptions | None = None) -> Iterator[BatchRow]:
    """The rows of a table, streamed; one that cannot be judged says why.

    Args:
        path: JSON Lines, CSV, TSV or Parquet; paths of pictures are relative to its folder.
        options: how to judge them.

    Raises:
        InputError: the file cannot be read.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    options = options or BatchOptions()
    for number, (place, record) in enumerate(scan_records(path), start=1):
        if isinstance(record, InputError):
            yield BatchRow(number, None, record, _hashed([record.message]))
        else:
            yield _row(number, place, record, path.parent, options)


def _row(number: int, place: str, record: Record, folder: Path, options: BatchOptions) -> BatchRow:
    name = record.get("id")
    name = name if isinstance(name, str | int) and not isinstance(name, bool) else None
    try:
        images = tuple(_images(record, folder))
        request = _request(record, images, options)
        rubric = request.rubric or Rubric()
        _ = Task(request.question, request.responses, len(images), request.reference, rubric)
    except CriticError as error:
        told = InputError(f"{place}: {error.message}", error.hint)
        return BatchRow(number, name, told, _hashed([error.message]))
    judged = [
        request.question,
        list(request.responses),
        request.reference,
        None if request.rubric is None else request.rubric.to_dict(),
        request.wording,
        len(images),
    ]
    return BatchRow(number, name, request, _hashed(judged), images)


def _request(
    record: Record, images: tuple[Path | bytes, ...], options: BatchOptions
) -> ScoreRequest | CompareRequest:
    question, responses = _text(record, "question"), _responses(record)
    if question is None:
        raise InputError("the row has no question", "name the column or key 'question'")
    common: dict[str, Any] = {
        "reference": _text(record, "reference") or None,
        "rubric": _rubric(record, options),
        "rationale": options.rationale,
        "wording": _wording(record, options),
        "temperature": options.temperature,
        "seed": options.seed,
    }
    if len(responses) == 1:
        return ScoreRequest(list(images), question, responses[0], **common)
    return CompareRequest(list(images), question, *responses, orders=options.orders, **common)


def _responses(record: Record) -> list[str]:
    """One response or two; of several ways to name them the one that says something."""
    forms = [(form.names, form.texts) for form in responses_in(record)]
    told = [form for form in forms if any(form[1])]
    if len(told) > 1:
        places = " and in ".join(", ".join(map(repr, names)) for names, _ in told)
        raise InputError(
            f"the row has responses in {places}",
            "make two rows of it, or leave out what is not to be judged",
        )
    if not forms:
        raise InputError(
            "the row has no response", "name one 'response', or two 'first' and 'second'"
        )
    names, chosen = (told or forms)[0]
    if len(chosen) not in (1, 2):
        raise InputError(
            f"the row has {len(chosen)} responses in {', '.join(map(repr, names))}",
            "give one to score, or two to compare",
        )
    return chosen


def _images(record: Record, folder: Path) -> list[Path | bytes]:
    cells = [record.get(name) for name in ("image", "images")]
    filled = [cell for cell in cells if cell not in (None, "", [])]
    if len(filled) > 1:
        raise InputError("the row has both 'image' and 'images'", "give one of them")
    found = images_of(filled[0], folder) if filled else []
    for image in found:
        if isinstance(image, Path) and not _is_file(image):
            raise InputError(
                f"there is no picture at {image}", "paths are relative to the table's folder"
            )
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, not to be read, or with a zero in it
        return False


def _rubric(record: Record, options: BatchOptions) -> Rubric | None:
    given = record.get("rubric")
    if given in (None, ""):
        return options.rubric
    return Rubric.parse(given.strip()) if isinstance(given, str) else Rubric.from_dict(given)


def _wording(record: Record, options: BatchOptions) -> int:
    given = record.get("wording")
    if given in (None, ""):
        return options.wording
    if isinstance(given, str) and given.strip().isdecimal() and len(given) <= _MOST_DIGITS:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise InputError(f"wording is {shown(given)}, not a number from 0", "leave it out")
    return given


def _text(record: Record, name: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{name} is {shown(value)}, not text", "write it as text")


def _hashed(value: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _image_digest(image: Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    try:
        with image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:  # judging says what is wrong with it
        return str(error).encode()
