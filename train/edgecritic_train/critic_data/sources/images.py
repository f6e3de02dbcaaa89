"""A table's image cells, in the forms that tables have."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

from edgecritic.errors import InputError, shown
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import ImageFile, ImageRef


def image_refs(cell: object, folder: Path, store: PictureStore) -> tuple[ImageRef, ...]:
    """The pictures that a cell names or holds.

    Understood are a path (relative to `folder`), bytes, a data URL, the ``{"bytes", "path"}`` of
    the hub's tables, and lists of these. What comes as bytes is kept in `store`.

    Raises:
        InputError: it is something else.
    """
    if cell is None:
        return ()
    if isinstance(cell, list | tuple):
        return tuple(ref for item in cell for ref in image_refs(item, folder, store))
    return (_ref(cell, folder, store),)


def _ref(cell: object, folder: Path, store: PictureStore) -> ImageRef:
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str) and cell.startswith("data:"):
        cell = _decoded(cell)
    if isinstance(cell, bytes):
        return store.put(cell)
    if isinstance(cell, str) and cell.lower().startswith(("http://", "https://")):
        raise InputError(
            f"the image {shown(cell)} is a web address, and none is fetched",
            "download the pictures first, and name their paths",
        )
    if isinstance(cell, str) and cell.strip():
        return ImageFile(folder / cell)
    raise InputError(f"the image is {shown(cell)}", "name a path, or give the bytes of a picture")


def _decoded(url: str) -> bytes:
    try:
        return b64decode(url.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise InputError(f"a data URL is no base64: {error}", "encode the picture again") from error
