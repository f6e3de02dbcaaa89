import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecritic.errors import ImageError
from edgecritic.vision import ImageGeometry, pixel_values, select_best_resolution, tile

GEOMETRY = ImageGeometry(
    tile_size=16,
    patch_size=4,
    pinpoints=tuple((16 * rows, 16 * cols) for rows in range(1, 4) for cols in range(1, 4)),
    mean=(1.0, 0.5, 0.0),
)
MEAN_COLOUR = (255, 127, 0)


def test_best_resolution_keeps_pixels_before_it_saves_area():
    pinpoints = [(16, 16), (16, 32), (32, 16), (32, 32)]
    assert select_best_resolution((10, 10), pinpoints) == (16, 16)
    assert select_best_resolution((16, 32), pinpoints) == (16, 32)
    assert select_best_resolution((17, 17), pinpoints) == (32, 32)
    assert select_best_resolution((100, 40), pinpoints) == (32, 16)


def test_first_of_equal_canvases_wins():
    assert select_best_resolution((8, 8), [(16, 32), (32, 16)]) == (16, 32)
    assert select_best_resolution((8, 8), [(32, 16), (16, 32)]) == (32, 16)


def test_picture_too_thin_for_every_canvas():
    with pytest.raises(ImageError, match="10000x1:"):
        tile(Image.new("RGB", (10_000, 1)), GEOMETRY)


@settings(deadline=None)
@given(st.integers(2, 90), st.integers(2, 90))
def test_a_plain_picture_fills_its_tiles_but_for_the_black_margins(height, width):
    tiled = tile(Image.new("RGB", (width, height), (10, 200, 30)), GEOMETRY)
    rows, cols = tiled.grid
    assert tiled.tiles.shape == (1 + rows * cols, 16, 16, 3)
    assert tiled.tiles.dtype == np.uint8
    assert tiled.original_size == (height, width)
    assert (tiled.tiles[0] == (10, 200, 30)).all()
    canvas = tiled.tiles[1:].reshape(rows, cols, 16, 16, 3).swapaxes(1, 2).reshape(rows * 16, -1, 3)
    inside = canvas.any(axis=-1)
    assert (canvas[inside] == (10, 200, 30)).all()
    for axis in (0, 1):
        line = inside.any(axis=axis)
        before, after = line.argmax(), line[::-1].argmax()
        assert after - before in (0, 1)
    assert inside.any(axis=0).all() or inside.any(axis=1).all()


def test_tiles_run_row_by_row():
    picture = Image.new("RGB", (48, 32))
    for index in range(6):
        left, top = index % 3 * 16, index // 3 * 16
        picture.paste((index + 1, 0, 0), (left, top, left + 16, top + 16))
    tiled = tile(picture, GEOMETRY)
    assert tiled.grid == (2, 3)
    assert [int(t[8, 8, 0]) for t in tiled.tiles[1:]] == [1, 2, 3, 4, 5, 6]


def test_lone_tile_is_padded_to_a_square_with_the_mean_colour():
    tiled = tile(Image.new("RGB", (32, 16), (0, 0, 255)), GEOMETRY, single=True)
    assert tiled.grid == (0, 0)
    assert tiled.tiles.shape == (1, 16, 16, 3)
    assert tuple(tiled.tiles[0, 0, 8]) == MEAN_COLOUR
    assert tuple(tiled.tiles[0, 15, 8]) == MEAN_COLOUR
    assert tuple(tiled.tiles[0, 8, 8]) == (0, 0, 255)


def test_long_strip_is_not_padded_to_gigabytes():
    # The whole square would take 30 GB; a strip of one part in 25,000 leaves no trace in 16 pixels.
    tiled = tile(Image.new("RGB", (100_000, 4), (0, 0, 255)), GEOMETRY, single=True)
    assert tuple(tiled.tiles[0, 0, 8]) == MEAN_COLOUR
    assert tiled.original_size == (4, 100_000)


def test_filter_is_the_geometrys():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    bilinear = ImageGeometry(16, 4, GEOMETRY.pinpoints, resample="bilinear")
    smooth = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
    sharp = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(tile(picture, bilinear).tiles[0], smooth)
    assert np.array_equal(tile(picture, GEOMETRY).tiles[0], sharp)


def test_tile_wants_rgb():
    with pytest.raises(ValueError, match="mode L"):
        tile(Image.new("L", (8, 8)), GEOMETRY)


def test_pixel_values_by_hand():
    tiles = np.array([255, 0, 51], dtype=np.uint8).reshape(1, 1, 1, 3)
    values = pixel_values(tiles, GEOMETRY)
    assert values.shape == (1, 3, 1, 1)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.ravel(), [0, -1, 0.4], atol=1e-6)
