"""Pictures from the outside world, decoded under limits that hold before any pixel is touched."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image

from edgecritic.errors import ImageError
from edgecritic.vision.tiff import check_directory

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""The only decoders that ever see foreign bytes; every other one would add attack surface."""

# Pillow itself refuses to open a header above twice its MAX_IMAGE_PIXELS (89,478,485).
_PILLOW_MAX_PIXELS = 178_956_970

# Pillow has no common base for what its plugins and C decoders raise on damaged files: these are
# the kinds in its sources. Warning is here for hosts that turn warnings into errors.
_DECODING_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    AssertionError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# warnings.catch_warnings swaps global state, so only one thread may be inside it at a time.
_header_lock = threading.Lock()

_SAVE_AS_PNG = "open it in an image viewer and save it as an 8-bit RGB PNG or JPEG"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large a picture may be; checked against its header, before decoding.

    Args:
        max_pixels: width x height, from 1 to 178,956,970 (where Pillow itself gives up).
        max_bytes: size of the encoded file, at least 1.
    """

    max_pixels: int = 40_000_000
    max_bytes: int = 20 * 2**20

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels <= _PILLOW_MAX_PIXELS:
            raise ValueError(f"max_pixels must be 1 to {_PILLOW_MAX_PIXELS}, not {self.max_pixels}")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {self.max_bytes}")


def load_image(source: ImageSource, limits: ImageLimits | None = None) -> Image.Image:
    """Decode a picture to upright 8-bit RGB.

    EXIF orientation is applied, transparency is laid on white, 16-bit greys keep their high byte,
    and of an animation or a multi-page file the first frame is taken. An image that the caller
    has opened already keeps the frame it stands at, and is not changed.

    Args:
        source: path, encoded bytes, or an open PIL image.
        limits: see `ImageLimits`; 40 megapixels and 20 MiB when left out.

    Returns:
        A new PIL image of mode RGB, size (width, height) after rotation.

    Raises:
        ImageError: the source is missing, unreadable, of another format, too large or damaged.
    """
    limits = limits or ImageLimits()
    return decode_image(read_image(source, limits), limits)


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """A picture that has been read, and not decoded yet.

    Attributes:
        name: for messages.
        data: the content of its file, or an image that was open already.
    """

    name: str
    data: bytes | Image.Image

    @property
    def digest(self) -> str | None:
        """SHA-256 (hex) of the file's content; None for an open image, which may change."""
        if isinstance(self.data, Image.Image):
            return None
        return hashlib.sha256(self.data).hexdigest()


def read_image(source: ImageSource, limits: ImageLimits) -> ReadImage:
    """Read a picture; see `load_image`.

    Raises:
        ImageError: the source is missing, unreadable or too large.
    """
    if isinstance(source, Image.Image):
        return ReadImage(_name_of_open(source), source)
    return ReadImage(*_read(source, limits))


def decode_image(read: ReadImage, limits: ImageLimits) -> Image.Image:
    """Decode what was read; see `load_image`.

    Raises:
        ImageError: it is of another format, too large or damaged.
    """
    name, data = read.name, read.data
    image = data if isinstance(data, Image.Image) else _open_header(name, data)
    _check_size(name, image.size, limits)
    try:
        if image.format == "TIFF" and isinstance(data, bytes):
            check_directory(data, limits.max_pixels)
        image.load()
        # The TIFF plugin turns the picture itself while loading, so the tag is read afterwards.
        return _upright(_to_rgb(name, image), _orientation(image))
    except _DECODING_FAILURES as error:
        kind = image.format or f"mode {image.mode}"
        raise ImageError(
            f"{name} ({kind}) cannot be decoded: {error}",
            f"the file may be truncated or damaged; fetch it again, or {_SAVE_AS_PNG}",
        ) from error


def content_hash(image: Image.Image) -> str:
    """SHA-256 (hex) over size and pixels, equal for equal pictures whatever file they came from.

    Args:
        image: mode RGB, as `load_image` returns it.

    Raises:
        ValueError: the image has another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"content_hash wants an RGB image, not mode {image.mode}")
    digest = hashlib.sha256(f"RGB {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _name_of_open(image: Image.Image) -> str:
    filename = getattr(image, "filename", "")
    return repr(os.fspath(filename)) if filename else "the PIL image"


def _read(source: str | os.PathLike[str] | bytes, limits: ImageLimits) -> tuple[str, bytes]:
    """Name for messages, and at most `max_bytes` of encoded data."""
    if isinstance(source, bytes):
        name = f"the image given as {len(source):,} bytes"
        size, data = len(source), source
    elif isinstance(source, str | os.PathLike):
        name = repr(os.fspath(source))
        size, data = _read_file(name, Path(source), limits)
    else:
        raise ImageError(
            f"an image cannot be read from a value of type {type(source).__name__}",
            "give a path, the bytes of an image file, or a PIL image",
        )
    if size > limits.max_bytes:
        raise ImageError(
            f"{name} holds {size:,} bytes; the limit is {limits.max_bytes:,}",
            "shrink the picture or save it as JPEG",
        )
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)", "check how the file was written")
    return name, data


def _read_file(name: str, path: Path, limits: ImageLimits) -> tuple[int, bytes]:
    """Size in bytes, and the content (nothing where the size is over the limit)."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a directory, not an image file", "name one file in it")
        if not stat.S_ISREG(status.st_mode):
            # A pipe or a device could block, or never end.
            raise ImageError(f"{name} is not a regular file", "save the picture to a file first")
        if status.st_size > limits.max_bytes:
            return status.st_size, b""
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # the file may have grown since stat
    except FileNotFoundError as error:
        raise ImageError(
            f"there is no image file {name}",
            "check the path; web addresses are not fetched, download the picture first",
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ImageError(
            f"{name} cannot be read: {error}", "check the path and its rights"
        ) from error
    return len(data), data


def _open_header(name: str, data: bytes) -> Image.Image:
    """Read the header only; Pillow decodes nothing before `load`."""
    try:
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        pixels = next(iter(re.findall(r"\d+", str(error))), "too many")
        raise ImageError(
            f"{name}: a header that declares {pixels} pixels is refused by the decoder",
            "shrink the picture",
        ) from error
    except _DECODING_FAILURES as error:
        raise ImageError(
            f"{name} is not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image "
            f"(it begins with {data[:8]!r})",
            _SAVE_AS_PNG,
        ) from error


def _check_size(name: str, size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width}x{height})", "give a non-empty picture")
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name} is {width}x{height}, {width * height / 1e6:.1f} megapixels; "
            f"the limit is {limits.max_pixels / 1e6:.1f}",
            "shrink the picture; the critic sees at most a few megapixels of it anyway",
        )


def _to_rgb(name: str, image: Image.Image) -> Image.Image:
    """8-bit RGB; transparent parts become white, as most viewers show them."""
    if image.mode == "F":
        raise ImageError(f"{name} has floating-point pixels, whose range is unknown", _SAVE_AS_PNG)
    if image.mode.startswith("I"):
        image = _eight_bit_grey(name, image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def _eight_bit_grey(name: str, image: Image.Image) -> Image.Image:
    """Mode L (or LA) from Pillow's integer modes, which its own `convert` would clip at 255."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(f"{name} has pixel values from {low} to {high}", _SAVE_AS_PNG)
    # Mode I does not tell its depth; one whose values fit 8 bits was widened from 8 bits.
    shift = 0 if image.mode == "I" and high <= 0xFF else 8
    grey = Image.fromarray((values >> shift).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return grey
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where the metadata is missing or broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODING_FAILURES:  # broken metadata around a sound picture is common
        return 1
    return value if isinstance(value, int) else 1


# Orientation: where row 0 and column 0 of the stored picture are, EXIF 2.32, section 4.6.4.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
