"""From a picture to the features a language model reads; needs numpy and Pillow only."""

from edgecritic.vision.cache import FeatureCache, FeatureKey
from edgecritic.vision.decode import ImageLimits, ImageSource, content_hash, load_image
from edgecritic.vision.geometry import ImageGeometry, Size
from edgecritic.vision.packing import canvas_tokens, pack_features, token_count
from edgecritic.vision.tiling import (
    FloatArray,
    TiledImage,
    UInt8Array,
    pixel_values,
    select_best_resolution,
    tile,
)

__all__ = [
    "FeatureCache",
    "FeatureKey",
    "FloatArray",
    "ImageGeometry",
    "ImageLimits",
    "ImageSource",
    "Size",
    "TiledImage",
    "UInt8Array",
    "canvas_tokens",
    "content_hash",
    "load_image",
    "pack_features",
    "pixel_values",
    "select_best_resolution",
    "tile",
    "token_count",
]
