"""A table's image cells, in the forms that tables have."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

from edgecritic.errors import InputError, shown


def images_of(cell: object, folder: Path) -> list[Path | bytes]:
    """The pictures that a cell names or holds.

    Understood are a path (relative to `folder`), bytes, a data URL, ``{"base64": "..."}``, the
    ``{"bytes", "path"}`` of the hub's tables, and lists of these. No cell is no picture.

    Raises:
        InputError: it is something else.
    """
    if cell is None:
        return []
    if isinstance(cell, list | tuple):
        return [image for item in cell for image in images_of(item, folder)]
    return [_image(cell, folder)]


def _image(cell: object, folder: Path) -> Path | bytes:
    if isinstance(cell, Mapping):
        if isinstance(encoded := cell.get("base64"), str):
            return _decoded(encoded)
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, str) and cell.startswith("data:"):
        return _decoded(cell.partition(",")[2])
    if isinstance(cell, str) and cell.lower().startswith(("http://", "https://")):
        raise InputError(
            f"the image {shown(cell)} is a web address, and none is fetched",
            "download the pictures first, and name their paths",
        )
    if isinstance(cell, str) and cell.strip():
        return folder / cell
    raise InputError(f"the image is {shown(cell)}", "name a path, or give the bytes of a picture")


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except ValueError as error:  # binascii.Error, or text that is not ASCII
        raise InputError(f"a picture is no base64: {error}", "encode the picture again") from error
