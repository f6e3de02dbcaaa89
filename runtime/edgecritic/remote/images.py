"""Pictures as the data URLs that chat endpoints take."""

from __future__ import annotations

import io
from base64 import b64encode

from PIL import Image

from edgecritic.backends.base import Cancelled, CancelToken
from edgecritic.pictures import ImageInput, as_images
from edgecritic.vision import ImageLimits, load_image

# Graphics, which PNG packs well, stay exact; photographs become JPEG, whose losses at this
# quality are below what a vision tower's resampling changes.
_MAX_PNG_BYTES = 1 << 20
_JPEG_QUALITY = 95


def data_urls(
    image: ImageInput, limits: ImageLimits, longest_side: int, cancel: CancelToken | None = None
) -> list[str]:
    """Decode pictures under our limits, and encode them anew, without their metadata.

    Args:
        image: pictures in any form that `Critic` takes.
        limits: on what is decoded at all.
        longest_side: pixels; larger pictures are shrunk.
        cancel: is looked at between pictures.

    Raises:
        ImageError: a picture cannot be used.
        Cancelled: `cancel` was set.
    """
    urls = []
    for source in as_images(image):
        _check(cancel)
        urls.append(_data_url(load_image(source, limits), longest_side))
    _check(cancel)
    return urls


def _check(cancel: CancelToken | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise Cancelled


def _data_url(picture: Image.Image, longest_side: int) -> str:
    if max(picture.size) > longest_side:
        scale = longest_side / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    picture.info.clear()  # comments and profiles would be written again
    kind, content = "png", _encoded(picture, "PNG")
    if len(content) > _MAX_PNG_BYTES:
        kind, content = "jpeg", _encoded(picture, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _encoded(picture: Image.Image, format_: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()
