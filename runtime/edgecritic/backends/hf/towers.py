"""Vision towers of transformers' models, from pictures to the features before packing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgecritic.backends.base import FloatArray, UInt8Array
from edgecritic.backends.checks import check_picture_sides, check_tiles
from edgecritic.vision.geometry import ImageGeometry
from edgecritic.vision.native import MAX_TOKENS, NativeGeometry, patch_values
from edgecritic.vision.tiling import pixel_values


def tile_features(model: Any, tiles: UInt8Array, geometry: ImageGeometry) -> torch.Tensor:
    """Tiles through LLaVA-OneVision's tower and projector, one at a time.

    transformers would pack them, too.

    Args:
        model: a `LlavaOnevisionForConditionalGeneration`.
        tiles: (n, S, S, 3) uint8 RGB.
        geometry: the bundle's.

    Returns:
        (n, patches, n_embd).

    Raises:
        ImageError: the tiles have another shape or type.
    """
    check_tiles(tiles, geometry.tile_size)
    config, parts = model.config, model.model
    layers = config.vision_feature_layer
    shape = (len(tiles), geometry.patches_per_side**2, config.text_config.hidden_size)
    features = torch.empty(shape, dtype=torch.float32)
    for pixels, out in zip(pixel_values(tiles, geometry), features, strict=True):
        states = parts.vision_tower(_tensor(model, pixels[None]), output_hidden_states=True)
        chosen = [
            states.hidden_states[layer]
            for layer in ([layers] if isinstance(layers, int) else layers)
        ]
        hidden = torch.cat(chosen, dim=-1)
        if config.vision_feature_select_strategy == "default":
            hidden = hidden[:, 1:]  # without the class token
        out.copy_(parts.multi_modal_projector(hidden)[0])
    return features


def native_features(model: Any, pictures: UInt8Array, geometry: NativeGeometry) -> torch.Tensor:
    """Pictures through Qwen2.5-VL's tower and merger, one at a time.

    Args:
        model: a `Qwen2_5_VLForConditionalGeneration`.
        pictures: (n, H, W, 3) uint8 RGB.
        geometry: the bundle's.

    Returns:
        (n, features, n_embd), the features row by row.

    Raises:
        ImageError: the pictures have another shape or type.
    """
    check_picture_sides(pictures, geometry.cell_size, MAX_TOKENS)
    height, width = pictures.shape[1:3]
    n_features = (height // geometry.cell_size) * (width // geometry.cell_size)
    patches = (1, height // geometry.patch_size, width // geometry.patch_size)
    grid = torch.tensor([patches], device=model.device)
    shape = (len(pictures), n_features, model.config.text_config.hidden_size)
    features = torch.empty(shape, dtype=torch.float32)
    for picture, out in zip(pictures, features, strict=True):
        values = _tensor(model, patch_values(picture, geometry))
        out.copy_(model.model.visual(values, grid_thw=grid).pooler_output)
    return features


def _tensor(model: Any, values: FloatArray) -> torch.Tensor:
    on_device = torch.from_numpy(np.ascontiguousarray(values)).to(model.device)
    return on_device.to(model.get_input_embeddings().weight.dtype)
