"""The numpy vision path against transformers' own code, on hundreds of random sizes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_utils import select_best_resolution as reference_resolution
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from edgecritic.errors import ImageError
from edgecritic.vision import (
    ImageGeometry,
    TiledImage,
    pack_features,
    pixel_values,
    select_best_resolution,
    tile,
    token_count,
)

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def grids(tile_size, most):
    sides = [tile_size * n for n in range(1, most + 1)]
    return tuple((height, width) for height in sides for width in sides)


ONEVISION = ImageGeometry(384, 14, grids(384, 6), mean=CLIP_MEAN, std=CLIP_STD)
EMBEDDED = ImageGeometry(192, 16, ((192, 192),))
SMALL_GRIDS = ImageGeometry(32, 4, grids(32, 6), mean=CLIP_MEAN, std=CLIP_STD)
GEOMETRIES = {"onevision": ONEVISION, "embedded": EMBEDDED, "small grids": SMALL_GRIDS}


def random_sizes(seed, n, largest, smallest=8):
    """(height, width) pairs, log-uniform, so that every grid shape occurs."""
    dice = np.random.default_rng(seed)
    exponents = dice.uniform(math.log(smallest), math.log(largest), (n, 2))
    return [(int(height), int(width)) for height, width in np.exp(exponents)]


def noise(size, seed=0):
    """A smooth and a noisy part, so that both rounding and overshoot of the filters show."""
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    return Image.fromarray(pixels)


def pinpoint_list(geometry):
    return [list(pinpoint) for pinpoint in geometry.pinpoints]


def reference_processor(geometry, **options):
    side = {"height": geometry.tile_size, "width": geometry.tile_size}
    return LlavaOnevisionImageProcessorPil(
        size=side,
        image_grid_pinpoints=pinpoint_list(geometry),
        image_mean=list(geometry.mean),
        image_std=list(geometry.std),
        **options,
    )


def reference_model(geometry):
    """As much of a model as `pack_image_features` looks at."""
    vision = SimpleNamespace(image_size=geometry.tile_size, patch_size=geometry.patch_size)
    config = SimpleNamespace(vision_config=vision, image_grid_pinpoints=pinpoint_list(geometry))
    return SimpleNamespace(config=config)


def reference_token_count(size, geometry):
    processor = object.__new__(LlavaOnevisionProcessor)
    processor.image_processor = SimpleNamespace(image_grid_pinpoints=pinpoint_list(geometry))
    processor.num_image_tokens = geometry.patches_per_side**2
    processor.vision_aspect_ratio = f"anyres_max_{geometry.anyres_max}"
    return processor._get_number_of_features(*size, geometry.tile_size, geometry.tile_size)


def stand_in(size, geometry):
    """A tiled image whose tiles hold no pixels: packing looks at their number only."""
    height, width = select_best_resolution(size, geometry.pinpoints)
    rows, cols = height // geometry.tile_size, width // geometry.tile_size
    return TiledImage(np.empty((1 + rows * cols, 0, 0, 3), dtype=np.uint8), (rows, cols), size)


@pytest.mark.parametrize(
    ("name", "n_sizes", "largest"),
    [
        ("onevision", 300, 900),
        ("onevision", 12, 3000),
        ("embedded", 300, 1200),
        ("small grids", 300, 400),
    ],
)
def test_tiles_are_equal_to_the_last_bit(name, n_sizes, largest):
    geometry = GEOMETRIES[name]
    processor = reference_processor(geometry, do_rescale=False, do_normalize=False)
    grids_seen = set()
    for seed, size in enumerate(random_sizes(1, n_sizes, largest)):
        image = noise(size, seed)
        tiled = tile(image, geometry)
        reference = processor(image)
        expected = reference["pixel_values"][0].transpose(0, 2, 3, 1)
        assert np.array_equal(tiled.tiles, expected), size
        assert tiled.original_size == tuple(reference["image_sizes"][0])
        grids_seen.add(tiled.grid)
    assert len(grids_seen) >= min(5, len(geometry.pinpoints))


@pytest.mark.parametrize("name", ["embedded", "small grids"])
def test_lone_tiles_of_several_pictures_are_equal_to_the_last_bit(name):
    geometry = GEOMETRIES[name]
    processor = reference_processor(geometry, do_rescale=False, do_normalize=False)
    sizes = [(64, 64), *random_sizes(2, 59, 700)]
    images = [noise(size, seed) for seed, size in enumerate(sizes)]
    expected = processor([images])["pixel_values"]
    for image, reference in zip(images, expected, strict=True):
        tiled = tile(image, geometry, single=True)
        assert np.array_equal(tiled.tiles, reference.transpose(0, 2, 3, 1)), image.size


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_normalised_pixels(geometry):
    processor = reference_processor(geometry)
    for size in random_sizes(3, 10, 500):
        image = noise(size)
        mine = pixel_values(tile(image, geometry).tiles, geometry)
        np.testing.assert_allclose(mine, processor(image)["pixel_values"][0], atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_best_resolution_and_token_count(geometry):
    largest = 8 * max(max(pinpoint) for pinpoint in geometry.pinpoints)
    counted = 0
    for size in random_sizes(4, 3000, largest):
        expected = reference_resolution(size, pinpoint_list(geometry))
        if expected is None:  # transformers goes on and fails with a TypeError
            with pytest.raises(ImageError):
                select_best_resolution(size, geometry.pinpoints)
            continue
        counted += 1
        assert select_best_resolution(size, geometry.pinpoints) == expected, size
        assert token_count(size, geometry) == reference_token_count(size, geometry), size
    assert counted > 2000


@pytest.mark.parametrize("anyres_max", [9, 4])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_packed_features(name, anyres_max):
    geometry = replace(GEOMETRIES[name], anyres_max=anyres_max)
    unlimited = replace(geometry, anyres_max=None)
    dice = np.random.default_rng(5)
    newline = dice.standard_normal(3, dtype=np.float32)
    shrunk, worst = 0, 0.0
    for size in random_sizes(6, 300, 10 * geometry.tile_size, geometry.tile_size // 8):
        tiled = stand_in(size, geometry)
        shape = (len(tiled.tiles), geometry.patches_per_side**2, 3)
        features = dice.standard_normal(shape, dtype=np.float32)
        (expected,), (n_tokens,) = LlavaOnevisionModel.pack_image_features(
            reference_model(geometry),
            [torch.from_numpy(features)],
            [size],
            image_newline=torch.from_numpy(newline),
            vision_aspect_ratio=f"anyres_max_{anyres_max}",
        )
        packed = pack_features(features, tiled, geometry, newline)
        assert packed.shape == tuple(expected.shape), size
        assert len(packed) == token_count(size, geometry) == int(n_tokens), size
        worst = max(worst, float(np.abs(packed - expected.numpy()).max()))
        shrunk += len(packed) < token_count(size, unlimited)
    assert worst <= 2e-6  # features have standard deviation 1
    assert (shrunk > 20) == (name != "embedded")


def test_lone_tile_packs_like_transformers():
    features = np.random.default_rng(7).standard_normal((1, 144, 3), dtype=np.float32)
    newline = np.ones(3, dtype=np.float32)
    (expected,), _ = LlavaOnevisionModel.pack_image_features(
        reference_model(EMBEDDED),
        [torch.from_numpy(features)],
        [(50, 70)],
        image_newline=torch.from_numpy(newline),
    )
    tiled = tile(noise((50, 70)), EMBEDDED, single=True)
    assert np.array_equal(pack_features(features, tiled, EMBEDDED, newline), expected.numpy())


def test_known_token_counts():
    # Measured with transformers on the published 7B's processor: (height, width) to tokens.
    known = {(384, 384): 1485, (480, 640): 2929, (768, 1024): 4725, (1080, 1920): 7269}
    assert {size: token_count(size, ONEVISION) for size in known} == known
