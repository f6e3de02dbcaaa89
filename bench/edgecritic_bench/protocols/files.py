"""Tables from outside as plain objects: JSON Lines, JSON, CSV, TSV, Parquet."""

from __future__ import annotations

import base64
import binascii
import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

from edgecritic import InputError, MissingExtraError
from edgecritic_bench.protocols.rows import Image, unique_keys

Object: TypeAlias = Mapping[str, Any]
Made = TypeVar("Made")

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_BATCH = 64
"""Rows of a Parquet file in memory at once; each may hold a picture."""


def table_files(path: Path, names: Sequence[str]) -> list[Path]:
    """The files of a data set.

    Args:
        path: a file, or a folder.
        names: patterns that the files have in a folder; the first with any match counts.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return [path]
    for name in names:
        if found := sorted(file for file in path.glob(name) if file.is_file()):
            return found
    raise InputError(
        f"{path} holds none of {', '.join(names)}",
        "name the file, the folder that it lies in, or hub: to fetch it",
    )


def read_objects(path: Path) -> Iterator[tuple[str, Object]]:
    """Each row of a table, with its place for messages.

    Args:
        path: its suffix says what it is.

    Raises:
        InputError: it cannot be read, or is no such table.
        MissingExtraError: pyarrow is needed and not installed.
    """
    readers: dict[str, Callable[[Path], Iterator[Any]]] = {
        ".jsonl": _json_lines,
        ".json": _json,
        ".csv": _separated,
        ".tsv": _separated,
        ".parquet": _parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} has the suffix {path.suffix!r}", f"known are {', '.join(SUFFIXES)}"
        )
    number = 0
    try:
        for number, found in enumerate(reader(path), 1):
            if not isinstance(found, Mapping):
                raise InputError(
                    f"{path}:{number} is a {type(found).__name__}, not an object",
                    "give a table with one object a row",
                )
            yield f"{path}:{number}", found
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path}:{number + 1}: {error}", "the file is cut off or another"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", "check its name") from error


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _json(path: Path) -> Iterator[Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    yield from data if isinstance(data, list) else [data]


def _separated(path: Path) -> Iterator[Any]:
    # Pictures in base64 are longer than what the reader allows a cell by default.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path} needs pyarrow to be read", "pip install 'edgecritic[bench]'"
        ) from error
    try:
        for batch in parquet.ParquetFile(path).iter_batches(_BATCH):
            yield from batch.to_pylist()
    except ArrowException as error:
        raise InputError(f"{path} is no Parquet: {error}", "fetch the file again") from error


def keyed_rows(
    path: Path,
    patterns: Sequence[str],
    name: Callable[[Object], str],
    build: Callable[[str, Object, Path], Made],
    keep: Callable[[Object], bool] = bool,
) -> tuple[Made, ...]:
    """The rows of a data set, each with a key of its own.

    Args:
        path: a file or folder.
        patterns: of the files in a folder.
        name: of a row; repeated ones are numbered.
        build: makes a row of its key, its object, and the folder that its paths start in.
        keep: which rows count; all when left out.

    Raises:
        InputError: there is no such file, or a row is another.
    """
    found = [
        (where, row, file.parent)
        for file in table_files(path, patterns)
        for where, row in read_objects(file)
        if made(where, keep, row)
    ]
    keys = unique_keys([made(where, name, row) for where, row, _ in found])
    return tuple(
        made(where, build, key, row, folder)
        for key, (where, row, folder) in zip(keys, found, strict=True)
    )


def made(where: str, build: Callable[..., Made], *arguments: object) -> Made:
    """What `build` makes of its arguments, its failures told with their place.

    Raises:
        InputError: a key is missing, or a value is not what it must be.
    """
    try:
        return build(*arguments)
    except KeyError as error:
        raise InputError(f"{where}: there is no {error}", "this is another data set") from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{where}: {error}", "this is another data set") from None


def picture(value: object, folder: Path, places: Sequence[str] = ("",)) -> Image:
    """A picture as tables hold them.

    Args:
        value: a path; bytes; ``{"bytes": ..., "path": ...}`` as Parquet files of the hub have it;
            or ``{"base64": ...}``.
        folder: where relative paths start.
        places: folders below it to look in, in this order.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return bytes(value["bytes"])
        if "base64" in value:
            return from_base64(str(value["base64"]))
        value = value.get("path")
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no picture")
    choices = [folder / place / PurePosixPath(value) for place in places]
    return next((path for path in choices if path.is_file()), choices[0])


def from_base64(text: str) -> bytes:
    """Decode a picture that a table holds as text.

    Raises:
        ValueError: it is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a picture is no base64: {error}") from None


def text(found: Object, key: str) -> str:
    """A cell that must hold text.

    Raises:
        KeyError: there is no such cell.
        ValueError: it holds something else.
    """
    value = found[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, not text")
    return value
