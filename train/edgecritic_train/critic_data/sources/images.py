"""A table's image cells, kept where rows can name them."""

from __future__ import annotations

from pathlib import Path

from edgecritic.batch.images import images_of
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import ImageFile, ImageRef


def image_refs(cell: object, folder: Path, store: PictureStore) -> tuple[ImageRef, ...]:
    """The pictures that a cell names or holds, in the forms of `images_of`.

    What comes as bytes is kept in `store`.

    Raises:
        InputError: it is something else.
    """
    return tuple(
        store.put(image) if isinstance(image, bytes) else ImageFile(image)
        for image in images_of(cell, folder)
    )
