"""From a picture to the features a language model reads; needs numpy and Pillow only."""

from edgecritic.vision.cache import FeatureCache, FeatureKey
from edgecritic.vision.caps import capped, loses_detail
from edgecritic.vision.decode import (
    ImageLimits,
    ImageSource,
    ReadImage,
    content_hash,
    decode_image,
    load_image,
    read_image,
)
from edgecritic.vision.geometries import Geometry, read_geometry
from edgecritic.vision.geometry import ImageGeometry, Size
from edgecritic.vision.native import (
    NativeGeometry,
    fitted_size,
    patch_values,
    resized,
    token_grid,
)
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
    "Geometry",
    "ImageGeometry",
    "ImageLimits",
    "ImageSource",
    "NativeGeometry",
    "ReadImage",
    "Size",
    "TiledImage",
    "UInt8Array",
    "canvas_tokens",
    "capped",
    "content_hash",
    "decode_image",
    "fitted_size",
    "load_image",
    "loses_detail",
    "pack_features",
    "patch_values",
    "pixel_values",
    "read_geometry",
    "read_image",
    "resized",
    "select_best_resolution",
    "tile",
    "token_count",
    "token_grid",
]
