"""Pictures in requests: data URLs as clients really write them, and bare base64.

What a picture is, its bytes tell: the type that a URL names is often wrong. It is decoded in the
worker process, under the limits of `edgecritic.vision`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from edgecritic.errors import shown
from edgecritic.server.failures import Failure, bad_request
from edgecritic.server.options import Limits

_WHITE = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_HINT = "send it as data:image/png;base64,..."


def is_remote(picture: str) -> bool:
    """It has to be fetched."""
    return picture[:8].strip().lower().startswith(("http://", "https://", "http:", "https:"))


def check_number(pictures: Sequence[str], limits: Limits) -> None:
    """See that they are not too many.

    Raises:
        Failure: they are.
    """
    if len(pictures) > limits.images:
        raise bad_request(
            f"there are {len(pictures)} pictures",
            f"send at most {limits.images}",
            "too_many_images",
        )


def decoded(picture: str, where: str, limits: Limits) -> bytes:
    """The encoded picture that a data URL or bare base64 holds.

    White space is dropped wherever it stands, missing padding is added, and the alphabet may be
    that of URLs.

    Raises:
        Failure: it holds none, or is too large.
    """
    scheme, colon, _ = picture[:64].partition(":")
    if colon and scheme.strip().lower() != "data":
        raise bad_request(
            f"{where} is a {shown(scheme.strip())} URL, which is never opened", _HINT, "bad_image"
        )
    if colon:
        head, comma, body = picture.partition(",")
        if not comma:
            raise bad_request(f"{where} is a data URL without a comma", _HINT, "bad_image")
        if not head.replace(" ", "").lower().endswith(";base64"):
            return _within(unquote_to_bytes(body), where, limits)
    else:
        body = picture
    # Four characters make three bytes; what is too large is not decoded at all.
    if len(body) > 2 * limits.image_bytes:
        raise _too_large(len(body) * 3 // 4, where, limits)
    return _within(_of_base64(body, where), where, limits)


def _of_base64(body: str, where: str) -> bytes:
    try:
        packed = body.encode("ascii").translate(_URL_SAFE, _WHITE)
        if b"%" in packed:
            packed = unquote_to_bytes(packed).translate(_URL_SAFE, _WHITE)
        packed = packed.rstrip(b"=")
        data = b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise bad_request(
            f"{where} is not base64: {shown(body[:40])}", _HINT, "bad_image"
        ) from None
    if not data:
        raise bad_request(f"{where} is empty", _HINT, "bad_image")
    return data


def _within(data: bytes, where: str, limits: Limits) -> bytes:
    if len(data) > limits.image_bytes:
        raise _too_large(len(data), where, limits)
    if not data:
        raise bad_request(f"{where} is empty", _HINT, "bad_image")
    return data


def _too_large(size: int, where: str, limits: Limits) -> Failure:
    return bad_request(
        f"{where} has {size:,} bytes",
        f"send at most {limits.image_bytes:,}: shrink it, or save it as JPEG",
        "image_too_large",
    )
