"""Tables as records: JSON Lines, CSV and Parquet, streamed, each record with its place."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from edgecritic.errors import InputError, MissingExtraError
from edgecritic.strict_json import decode

Record: TypeAlias = Mapping[str, Any]
_BATCH_ROWS = 64  # a row may hold a picture of megabytes
_MAX_CELL = 1 << 27


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The records of a table, each with its place for messages, such as ``table.csv:7``.

    Lines are counted from 1 in text files, rows from 1 in Parquet. Empty cells of a CSV file are
    left out: where text may be empty, a missing key reads so too. What stands between its cells,
    a comma, a semicolon or a tabulator, is told from its header: spreadsheets write each of them.

    Args:
        path: a ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file.

    Raises:
        InputError: the file cannot be read, or a line is no record.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    for place, record in scan_records(path):
        if isinstance(record, InputError):
            raise record
        yield place, filled(path, record)


def scan_records(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    """`read_records`, but a line that is no record is told in its place, and the others follow.

    Cells of a CSV file are given as they are, empty ones too.

    Raises:
        InputError: the file cannot be read, or not beyond some place.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} is none of {', '.join(_READERS)}", "convert the table to one of these"
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", "check the path") from error
    except UnicodeError as error:
        raise InputError(
            f"{path} cannot be read: {error}", "save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def filled(path: Path, record: Record) -> Record:
    """A record of `scan_records` without the empty cells of a CSV file."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return record
    return {key: cell for key, cell in record.items() if cell != ""}


def _jsonl(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"{path}:{number}"
                yield place, _object(line, place)


def _object(line: bytes, place: str) -> Record | InputError:
    try:
        value = decode(line.decode("utf-8-sig"))
    except ValueError as error:
        return InputError(f"{place}: the line is no JSON: {error}", "the file may be cut off")
    if not isinstance(value, Mapping):
        return InputError(f"{place}: the line is no object", "write one object a line")
    return value


def _csv(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    csv.field_size_limit(min(_MAX_CELL, sys.maxsize))
    with path.open("rb") as file:
        utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    with path.open(encoding="utf-16" if utf16 else "utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, delimiter=_delimiter(path, header), strict=True)
        try:
            for record in reader:
                place = f"{path}:{reader.line_num}"
                if not any(record.values()):
                    continue  # spreadsheets write empty rows, too
                if None in record or None in record.values():
                    yield (
                        place,
                        InputError(
                            f"{place}: the record has another number of cells than the header",
                            "quote cells that hold commas or line breaks",
                        ),
                    )
                else:
                    yield place, record
        except csv.Error as error:
            raise InputError(
                f"{path}: behind line {reader.line_num}: {error}",
                "quote the cells as RFC 4180 says",
            ) from error


def _delimiter(path: Path, header: str) -> str:
    """What cuts the header into most cells; those that begin with a blank are parts of a text."""
    if path.suffix.lower() == ".tsv":
        return "\t"

    def n_cells(mark: str) -> int:
        cells = next(csv.reader([header], delimiter=mark), ())
        return sum(not cell.startswith(" ") for cell in cells)

    return max(",;\t", key=n_cells)


def _parquet(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path} is Parquet, and reading it needs pyarrow", "pip install 'edgecritic[parquet]'"
        ) from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", record
    except (
        pyarrow.ArrowException,
        ValueError,
        OverflowError,
    ) as error:
        raise InputError(
            f"{path}: behind row {number}: {error}",
            "the file is damaged, or has a date of no year: write it anew",
        ) from error


_READERS: Final[Mapping[str, Callable[[Path], Iterator[tuple[str, Record | InputError]]]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
