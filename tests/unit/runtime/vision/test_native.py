"""Pictures at their own resolution, against transformers' own processor on random sizes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from edgecritic.errors import ArtifactError, ImageError
from edgecritic.vision import (
    ImageGeometry,
    NativeGeometry,
    fitted_size,
    patch_values,
    pixel_values,
    read_geometry,
    resized,
    token_grid,
)

PUBLISHED = NativeGeometry(14, 2, 56 * 56, 16_384 * 28 * 28)
BOUNDED = NativeGeometry(14, 2, 56 * 56, 1280 * 28 * 28)
SMALL = NativeGeometry(4, 2, 400, 4000, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")
THREES = NativeGeometry(5, 3, 900, 90_000)
GEOMETRIES = {"published": PUBLISHED, "bounded": BOUNDED, "small": SMALL, "threes": THREES}
sides = st.integers(1, 6000)


def random_sizes(seed, n, largest, smallest=8):
    """(height, width) pairs, log-uniform, so that every shape and bound occurs."""
    dice = np.random.default_rng(seed)
    exponents = dice.uniform(math.log(smallest), math.log(largest), (n, 2))
    return [(int(height), int(width)) for height, width in np.exp(exponents)]


def noise(size, seed=0):
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    return Image.fromarray(pixels)


def reference_processor(geometry, **options):
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": geometry.min_pixels, "longest_edge": geometry.max_pixels},
        patch_size=geometry.patch_size,
        merge_size=geometry.merge_size,
        image_mean=list(geometry.mean),
        image_std=list(geometry.std),
        resample={"bilinear": 2, "bicubic": 3}[geometry.resample],
        **options,
    )


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@given(height=sides, width=sides)
def test_sizes_are_those_of_transformers(geometry, height, width):
    limits = (geometry.cell_size, geometry.min_pixels, geometry.max_pixels)
    try:
        expected = smart_resize(height, width, *limits)
    except ValueError:
        with pytest.raises(ImageError, match="200 times"):
            fitted_size((height, width), geometry)
        return
    assert fitted_size((height, width), geometry) == expected


@pytest.mark.parametrize(
    ("name", "n_sizes", "largest"),
    [("bounded", 60, 700), ("bounded", 4, 3000), ("small", 300, 300), ("threes", 200, 500)],
)
def test_pixels_and_grids_are_equal_to_the_last_bit(name, n_sizes, largest):
    geometry = GEOMETRIES[name]
    processor = reference_processor(geometry, do_rescale=False, do_normalize=False)
    identity = replace(geometry, mean=(0, 0, 0), std=(1, 1, 1))
    grids = set()
    for seed, size in enumerate(random_sizes(1, n_sizes, largest)):
        picture = resized(noise(size, seed), geometry)
        reference = processor(noise(size, seed))
        rows, columns = token_grid(size, geometry)
        merge = geometry.merge_size
        assert list(reference["image_grid_thw"][0]) == [1, rows * merge, columns * merge]
        assert picture.shape == (1, rows * geometry.cell_size, columns * geometry.cell_size, 3)
        patches = np.rint(patch_values(picture[0], identity) * 255)
        assert np.array_equal(patches, reference["pixel_values"]), size
        grids.add((rows, columns))
    assert len(grids) >= n_sizes // 6


@pytest.mark.parametrize("geometry", [BOUNDED, SMALL, THREES])
def test_normalised_patches(geometry):
    processor = reference_processor(geometry)
    for size in random_sizes(3, 20, 400):
        mine = patch_values(resized(noise(size), geometry)[0], geometry)
        np.testing.assert_allclose(mine, processor(noise(size))["pixel_values"], atol=1e-6)


@given(height=sides, width=sides)
def test_sizes_keep_to_the_bounds(height, width):
    if max(height, width) > 200 * min(height, width):
        return
    fitted = fitted_size((height, width), BOUNDED)
    assert all(side >= 28 and side % 28 == 0 for side in fitted)
    assert fitted[0] * fitted[1] >= BOUNDED.min_pixels
    # A picture thinner than a token keeps one row of them, whatever its area becomes.
    assert fitted[0] * fitted[1] <= BOUNDED.max_pixels or 28 in fitted
    assert fitted_size(fitted, BOUNDED) == fitted or 28 in fitted


def test_pixels_of_a_whole_picture_are_normalised_like_tiles():
    picture = resized(noise((80, 120)), SMALL)
    values = pixel_values(picture, SMALL)
    assert values.shape == (1, 3, *picture.shape[1:3])
    assert patch_values(picture[0], SMALL).sum() == pytest.approx(2 * values.sum(), rel=1e-4)


def test_only_rgb_is_resized():
    with pytest.raises(ValueError, match="mode L"):
        resized(Image.new("L", (50, 50)), BOUNDED)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_json_round_trip(geometry):
    data = json.loads(json.dumps(geometry.to_dict()))
    assert read_geometry(data) == geometry
    assert read_geometry(data).digest == geometry.digest


def test_each_kind_of_geometry_is_read_as_what_it_is():
    tiles = ImageGeometry(28, 7, ((28, 28),))
    assert read_geometry(tiles.to_dict()) == tiles
    assert len({g.digest for g in (tiles, *GEOMETRIES.values())}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "fractal"}, "kind is 'fractal'"),
        ({"patch_size": 0}, "patch_size must be 1"),
        ({"patch_size": 14.0}, "patch_size must be an integer"),
        ({"merge_size": 9}, "merge_size must be 1 to 8"),
        ({"min_pixels": 0}, "must be ascending"),
        ({"min_pixels": 10**6, "max_pixels": 10**5}, "must be ascending"),
        ({"max_pixels": 10**9}, "at most 12845056"),
        ({"mean": [0.5, 0.5, 2.0]}, "mean must be within"),
        ({"std": [0.5, 0.5]}, "std must be three numbers"),
        ({"resample": "nearest"}, "resample must be one of"),
        ({"pinpoints": []}, r"unknown fields \['pinpoints'\]"),
    ],
)
def test_geometries_that_cannot_be_used(change, message):
    with pytest.raises(ArtifactError, match=message):
        read_geometry(BOUNDED.to_dict() | change)
