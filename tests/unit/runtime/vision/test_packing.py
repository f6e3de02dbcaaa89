import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic.errors import ArtifactError, ImageError
from edgecritic.vision import (
    ImageGeometry,
    TiledImage,
    canvas_tokens,
    pack_features,
    select_best_resolution,
    token_count,
)

GEOMETRY = ImageGeometry(
    tile_size=16,
    patch_size=4,
    pinpoints=tuple((16 * rows, 16 * cols) for rows in range(1, 4) for cols in range(1, 4)),
    anyres_max=2,
)
NEWLINE = np.array([-1, -2], dtype=np.float32)


def empty_tiles(size, geometry):
    height, width = select_best_resolution(size, geometry.pinpoints)
    rows, cols = height // geometry.tile_size, width // geometry.tile_size
    side = geometry.tile_size
    tiles = np.zeros((1 + rows * cols, side, side, 3), dtype=np.uint8)
    return TiledImage(tiles, (rows, cols), size)


def numbered(tiled, geometry):
    """Features (value, constant) whose value is the feature's place in the stitched grid."""
    rows, cols = tiled.grid
    side = geometry.patches_per_side
    grid = np.arange(rows * side * cols * side, dtype=np.float32)
    grid = grid.reshape(rows, side, cols, side).swapaxes(1, 2).reshape(rows * cols, side * side)
    values = np.concatenate((np.full((1, side * side), 1e6, dtype=np.float32), grid))
    return np.stack((values, np.full_like(values, 7)), axis=-1)


@pytest.mark.parametrize("anyres_max", [None, 1, 2, 3])
@settings(max_examples=150, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_no_picture_takes_more_tokens_than_its_canvas_may(anyres_max, height, width):
    geometry = ImageGeometry(16, 4, GEOMETRY.pinpoints, anyres_max=anyres_max)
    try:
        canvas = select_best_resolution((height, width), geometry.pinpoints)
    except ImageError:
        return
    assert token_count((height, width), geometry) <= canvas_tokens(canvas, geometry)


def test_a_picture_that_escapes_being_shrunk_takes_most():
    assert token_count((48, 48), GEOMETRY) < canvas_tokens((48, 48), GEOMETRY)


@pytest.mark.parametrize("anyres_max", [None, 1, 2, 9])
@settings(max_examples=150, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_token_count_is_the_number_of_packed_rows(anyres_max, height, width):
    geometry = ImageGeometry(16, 4, GEOMETRY.pinpoints, anyres_max=anyres_max)
    try:
        tiled = empty_tiles((height, width), geometry)
    except ImageError:
        with pytest.raises(ImageError):
            token_count((height, width), geometry)
        return
    packed = pack_features(numbered(tiled, geometry), tiled, geometry, NEWLINE)
    assert packed.dtype == np.float32
    assert packed.shape == (token_count((height, width), geometry), 2)


def test_base_comes_first_and_rows_end_in_a_newline():
    tiled = empty_tiles((16, 32), GEOMETRY)
    packed = pack_features(numbered(tiled, GEOMETRY), tiled, GEOMETRY, NEWLINE)
    assert (packed[:16, 0] == 1e6).all()
    lines = packed[16:].reshape(4, 9, 2)
    assert np.array_equal(lines[:, :8, 0], np.arange(32).reshape(4, 8))
    assert (lines[:, 8] == NEWLINE).all()


def test_padding_is_dropped_on_both_sides():
    # 16x24 on a 16x32 canvas: 6 of its 8 feature columns are picture, one on each side is not.
    geometry = ImageGeometry(16, 4, ((16, 32),))
    tiled = empty_tiles((16, 24), geometry)
    packed = pack_features(numbered(tiled, geometry), tiled, geometry, NEWLINE)
    assert np.array_equal(packed[16:].reshape(4, 7, 2)[0, :6, 0], [1, 2, 3, 4, 5, 6])


def test_padding_may_take_whole_tiles():
    # 16x16 on a 16x80 canvas: 4 of its 20 feature columns are picture, two tiles on each side not.
    geometry = ImageGeometry(16, 4, ((16, 80),))
    tiled = empty_tiles((16, 16), geometry)
    packed = pack_features(numbered(tiled, geometry), tiled, geometry, NEWLINE)
    lines = packed[16:].reshape(4, 5, 2)[:, :4, 0]
    assert np.array_equal(lines, np.arange(80).reshape(4, 20)[:, 8:12])


@pytest.mark.parametrize("size", [(48, 48), (48, 40), (20, 48), (33, 31)])
def test_tiles_need_not_be_joined(size):
    tiled = empty_tiles(size, GEOMETRY)
    features = numbered(tiled, GEOMETRY)
    apart = [tile.copy() for tile in features]
    packed = [pack_features(one, tiled, GEOMETRY, NEWLINE) for one in (features, apart)]
    assert np.array_equal(*packed)


def test_limit_shrinks_the_grid_and_keeps_constants():
    # 12x12 features on 3x3 tiles, 2 tiles of 16 allowed: ratio sqrt(144 / 32), so 5x5 are left.
    tiled = empty_tiles((48, 48), GEOMETRY)
    packed = pack_features(numbered(tiled, GEOMETRY), tiled, GEOMETRY, NEWLINE)
    lines = packed[16:].reshape(5, 6, 2)
    assert (lines[:, :5, 1] == 7).all()
    assert np.isclose(lines[2, 2, 0], (12 * 12 - 1) / 2)  # the middle stays in the middle


def test_extreme_limit_leaves_one_row():
    geometry = ImageGeometry(16, 16, ((16, 16 * 30),), anyres_max=1)
    size = (16, 16 * 30)
    tiled = empty_tiles(size, geometry)
    packed = pack_features(numbered(tiled, geometry), tiled, geometry, NEWLINE)
    assert len(packed) == token_count(size, geometry) == 1 + 1 * (5 + 1)


def test_sliver_may_lose_all_of_its_own_features():
    geometry = ImageGeometry(16, 4, ((16, 16),))
    assert token_count((1, 16), geometry) == 16
    tiled = empty_tiles((1, 16), geometry)
    packed = pack_features(numbered(tiled, geometry), tiled, geometry, NEWLINE)
    assert (packed[:, 0] == 1e6).all()


def test_lone_tile_gets_one_newline():
    tiled = TiledImage(np.zeros((1, 16, 16, 3), dtype=np.uint8), (0, 0), (500, 20))
    features = np.arange(32, dtype=np.float32).reshape(1, 16, 2)
    packed = pack_features(features, tiled, GEOMETRY, NEWLINE)
    assert len(packed) == token_count((500, 20), GEOMETRY, single=True) == 17
    assert np.array_equal(packed[:16], features[0])
    assert np.array_equal(packed[16], NEWLINE)


@pytest.mark.parametrize("shape", [(2, 16, 2), (3, 15, 2), (3, 16, 3), (3, 32)])
def test_features_of_another_geometry_are_refused(shape):
    tiled = empty_tiles((16, 32), GEOMETRY)
    with pytest.raises(ArtifactError, match="gave features of") as caught:
        pack_features(np.zeros(shape, dtype=np.float32), tiled, GEOMETRY, NEWLINE)
    assert "mmproj" in caught.value.hint
