import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from edgecritic.errors import ImageError
from edgecritic.vision import ImageLimits, content_hash, load_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(width=31, height=24, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width, height, depth, colour, rows, *, transparency=b""):
    """A PNG written by hand, for headers and depths that Pillow does not write.

    colour: 0 grey, 2 RGB, 4 grey and alpha; rows: the bytes before compression.
    """

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    key = chunk(b"tRNS", transparency) if transparency else b""
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + body + chunk(b"IEND", b"")


def pixels(image):
    return [list(map(tuple, row)) for row in np.asarray(image).tolist()]


# Sources -------------------------------------------------------------------------------------


def test_path_string_bytes_and_open_image_give_the_same_picture(tmp_path):
    path = tmp_path / "picture.png"
    noise().save(path)
    with Image.open(path) as opened:
        pictures = [load_image(path), load_image(str(path)), load_image(path.read_bytes())]
        pictures += [load_image(opened), load_image(noise())]
    assert {content_hash(picture) for picture in pictures} == {content_hash(noise())}
    assert {picture.mode for picture in pictures} == {"RGB"}


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_lossless_formats_keep_every_pixel(file_format, options):
    assert content_hash(load_image(encoded(noise(), file_format, **options))) == content_hash(
        noise()
    )


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_decode(file_format):
    plain = Image.new("RGB", (16, 8), (40, 120, 200))
    decoded = np.asarray(load_image(encoded(plain, file_format)), dtype=int)
    assert decoded.shape == (8, 16, 3)
    assert np.abs(decoded - (40, 120, 200)).max() <= 4


def test_the_callers_image_is_not_changed_or_shared():
    original = noise()
    load_image(original).paste((0, 0, 0), (0, 0, 31, 24))
    assert content_hash(original) == content_hash(noise())


# Colour modes --------------------------------------------------------------------------------


def test_cmyk_jpeg():
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert np.abs(np.asarray(load_image(data), dtype=int) - RED).max() <= 3


def test_palette_transparency_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*BLUE, *GREEN])
    image.putpixel((1, 0), 1)
    assert pixels(load_image(encoded(image, "PNG"))) == [[BLUE, GREEN]]
    assert pixels(load_image(encoded(image, "PNG", transparency=0))) == [[WHITE, GREEN]]
    assert pixels(load_image(encoded(image, "GIF", transparency=1))) == [[BLUE, WHITE]]


def test_alpha_is_laid_on_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    for file_format in ("PNG", "TIFF"):
        assert pixels(load_image(encoded(image, file_format))) == [[WHITE, (255, 127, 127)]]
    assert pixels(load_image(image)) == [[WHITE, (255, 127, 127)]]


def test_sixteen_bit_grey_keeps_its_high_byte():
    data = png(4, 1, 16, 0, b"\0" + struct.pack(">4H", 0, 0x00FF, 0x8001, 0xFFFF))
    assert [row[0] for row in pixels(load_image(data))[0]] == [0, 0, 0x80, 0xFF]


def test_dark_sixteen_bit_grey_stays_dark():
    assert pixels(load_image(png(1, 1, 16, 0, b"\0\0\xff"))) == [[(0, 0, 0)]]


def test_sixteen_bit_grey_with_a_transparent_value():
    rows = b"\0" + struct.pack(">3H", 0x1234, 0x1235, 0)
    data = png(3, 1, 16, 0, rows, transparency=struct.pack(">H", 0x1234))
    assert [row[0] for row in pixels(load_image(data))[0]] == [255, 0x12, 0]


def test_sixteen_bit_colour_and_alpha():
    colour = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 65535, 0, 0, 0x0102, 0x0304, 0x0506))
    assert pixels(load_image(colour)) == [[RED, (1, 3, 5)]]
    alpha = png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0, 0))
    assert pixels(load_image(alpha)) == [[WHITE]]


def test_one_bit_picture():
    assert [row[0] for row in pixels(load_image(png(8, 1, 1, 0, b"\0\x0f")))[0]] == [0] * 4 + [
        255
    ] * 4


def test_wide_integers_are_read_by_their_range():
    eight = Image.fromarray(np.array([[0, 200]], dtype=np.int32))
    sixteen = Image.fromarray(np.array([[0, 0x8000]], dtype=np.int32))
    assert pixels(load_image(eight))[0][1] == (200, 200, 200)
    assert pixels(load_image(sixteen))[0][1] == (128, 128, 128)
    with pytest.raises(ImageError, match="pixel values from -1 to 65536"):
        load_image(Image.fromarray(np.array([[-1, 65536]], dtype=np.int32)))


def test_floating_point_pixels_are_refused():
    with pytest.raises(ImageError, match="floating-point"):
        load_image(encoded(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBX", "RGBa", "YCbCr", "HSV", "LAB"])
def test_every_other_mode_becomes_rgb(mode):
    converted = load_image(Image.new(mode, (3, 2)))
    assert (converted.mode, converted.size) == ("RGB", (3, 2))


# Orientation and frames ----------------------------------------------------------------------


def exif(orientation):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def test_exif_rotated_jpeg_stands_upright():
    # Stored with the left half red; orientation 6 turns it clockwise: the top half is red.
    stored = Image.new("RGB", (32, 16), BLUE)
    stored.paste(RED, (0, 0, 16, 16))
    upright = load_image(encoded(stored, "JPEG", exif=exif(6), quality=95))
    assert upright.size == (16, 32)
    red, _, blue = np.asarray(upright, dtype=int)[[2, 29], 8].T
    assert red[0] > 240
    assert blue[0] < 15
    assert blue[1] > 240
    assert red[1] < 15


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_every_orientation_turns_back(file_format, orientation):
    # Rows and columns as EXIF 2.32 (table of tag 274) describes the stored picture.
    upright = np.asarray(noise())
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright.swapaxes(0, 1)[::-1, ::-1],
        8: upright.swapaxes(0, 1)[:, ::-1],
    }.get(orientation, upright)
    image = Image.fromarray(np.ascontiguousarray(stored))
    data = encoded(image, file_format, exif=exif(orientation))
    assert np.array_equal(np.asarray(load_image(data)), upright)


def test_broken_exif_leaves_the_picture_as_stored():
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_image(data).size == (31, 24)


def test_exif_that_is_not_a_number_is_ignored():
    image = noise()
    image.getexif()[ExifTags.Base.Orientation] = "six"
    assert content_hash(load_image(image)) == content_hash(noise())


def test_unreadable_metadata_is_ignored(monkeypatch):
    def broken(self):
        raise SyntaxError("not a TIFF header")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert content_hash(load_image(noise())) == content_hash(noise())


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})],
)
def test_first_frame_of_an_animation(file_format, options):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), GREEN)
    data = encoded(first, file_format, save_all=True, append_images=[second], **options)
    assert pixels(load_image(data))[4][4] == RED


def test_an_open_animation_keeps_its_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as opened:
        opened.seek(1)
        assert pixels(load_image(opened))[4][4] == GREEN


# Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "value"),
    [(10_000, 10_000, r"10000x10000, 100\.0 megapixels"), (20_000, 20_000, "400000000 pixels")],
)
def test_huge_png_is_refused_by_its_header(tmp_path, monkeypatch, width, height, value):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(width, height, 8, 2, b"\0"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match=value) as caught:
            load_image(path)
    assert not seen
    assert "bomb.png" in caught.value.message
    assert caught.value.hint


def test_limits_are_inclusive():
    data = encoded(noise(20, 10), "PNG")
    exact = ImageLimits(max_pixels=200, max_bytes=len(data))
    assert load_image(data, exact).size == (20, 10)
    with pytest.raises(ImageError, match="20x10"):
        load_image(data, ImageLimits(max_pixels=199))
    with pytest.raises(
        ImageError, match=f"holds {len(data):,} bytes; the limit is {len(data) - 1:,}"
    ):
        load_image(data, ImageLimits(max_bytes=len(data) - 1))


def test_open_images_pass_the_same_pixel_limit():
    with pytest.raises(ImageError, match=r"the PIL image is 6400x6400, 41\.0 megapixels"):
        load_image(Image.new("1", (6400, 6400)))


def test_large_file_is_refused_without_being_read(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(20 * 2**20 + 1)
    with pytest.raises(ImageError, match=r"large\.png' holds 20,971,521 bytes"):
        load_image(path)


@pytest.mark.parametrize("limits", [{"max_pixels": 0}, {"max_pixels": 10**9}, {"max_bytes": 0}])
def test_limits_out_of_range(limits):
    with pytest.raises(ValueError, match="must be"):
        ImageLimits(**limits)


# Bad images ----------------------------------------------------------------------------------


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"there is no image file '.*absent\.png'"):
        load_image(tmp_path / "absent.png")


def test_web_address_says_that_nothing_is_fetched():
    with pytest.raises(ImageError, match="not fetched"):
        load_image("https://example.org/cat.png")


def test_directory(tmp_path):
    with pytest.raises(ImageError, match="is a directory"):
        load_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no named pipes")
def test_named_pipe_does_not_block(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(pipe)


def test_path_that_no_system_accepts():
    with pytest.raises(ImageError, match="cannot be read"):
        load_image("a\0b.png")


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    noise().save(path)

    def refuse(self, *arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read: .*Permission denied"):
        load_image(path)


def test_empty_file_and_empty_bytes(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match=r"empty\.png' is empty"):
        load_image(path)
    with pytest.raises(ImageError, match="0 bytes is empty"):
        load_image(b"")


@pytest.mark.parametrize("value", [None, 7, ["a.png"]])
def test_values_that_are_no_image(value):
    with pytest.raises(ImageError, match=f"type {type(value).__name__}"):
        load_image(value)


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7 not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0"]
)
def test_bytes_of_no_known_picture(tmp_path, data):
    path = tmp_path / "letter.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"letter\.png' is not a readable PNG, JPEG, WEBP"):
        load_image(path)


@pytest.mark.parametrize("file_format", ["PPM", "ICO", "TGA", "EPS"])
def test_other_decoders_never_run(file_format):
    with pytest.raises(ImageError, match="is not a readable"):
        load_image(encoded(noise(), file_format))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_picture_is_named(tmp_path, file_format):
    path = tmp_path / f"cut.{file_format.lower()}"
    data = encoded(noise(200, 150), file_format)
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match=r"cut\.") as caught:
        load_image(path)
    assert caught.value.hint


def test_open_image_of_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "cut.png"
    data = encoded(noise(200, 150), "PNG")
    path.write_bytes(data[: len(data) // 2])
    with Image.open(path) as opened, pytest.raises(ImageError, match=r"cut\.png' \(PNG\)"):
        load_image(opened)


def test_picture_without_pixels():
    with pytest.raises(ImageError, match="no pixels \\(0x5\\)"):
        load_image(Image.new("RGB", (0, 5)))


FUZZ_SEEDS = [
    encoded(noise(), "PNG", exif=exif(6)),
    encoded(noise().convert("P"), "PNG", transparency=3),
    encoded(noise(), "JPEG", exif=exif(8)),
    encoded(noise().convert("CMYK"), "JPEG"),
    encoded(noise(), "WEBP", exif=exif(3)),
    encoded(noise(), "GIF"),
    encoded(noise(), "BMP"),
    encoded(noise(), "TIFF", exif=exif(5)),
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_an_image_error(data):
    damaged = bytearray(data.draw(st.sampled_from(FUZZ_SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        reach = min(len(damaged), data.draw(st.sampled_from([64, 200, 10**6])))
        damaged[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert load_image(bytes(damaged)).mode == "RGB"


def test_threads_leave_the_warning_filters_alone():
    data = encoded(noise(), "PNG")
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [load_image(data) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# Hash ----------------------------------------------------------------------------------------


def test_content_hash_sees_pixels_and_shape():
    flat, tall = Image.new("RGB", (4, 1)), Image.new("RGB", (1, 4))
    assert flat.tobytes() == tall.tobytes()
    assert len({content_hash(flat), content_hash(tall), content_hash(noise(4, 1))}) == 3


def test_content_hash_is_stable():
    # printf 'RGB 1x1\n\001\002\003' | sha256sum
    pinned = "b9752ce4e7c5341fb7e5ac6525a12121dfe2f8ee19e7be72f9fea12ce6fd9851"
    assert content_hash(Image.new("RGB", (1, 1), (1, 2, 3))) == pinned


def test_content_hash_wants_rgb():
    with pytest.raises(ValueError, match="mode L"):
        content_hash(Image.new("L", (1, 1)))
