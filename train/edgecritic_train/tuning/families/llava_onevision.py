"""LLaVA-OneVision and LLaVA-Critic: AnyRes tiles, SigLIP, two linear layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from edgecritic.errors import ArtifactError, InputError
from edgecritic.vision import ImageGeometry, canvas_tokens, tile, token_count
from edgecritic_train.tuning.families import Eye, Folder, Picture, Size

if TYPE_CHECKING:
    import torch

_SIDES: Final = range(384, 2305, 384)
_RESAMPLE: Final = {2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling


class TilingEye:
    """Cuts pictures as the runtime does.

    Args:
        geometry: of the tiles.
        image_token: id that stands for one feature.
    """

    framed = False

    def __init__(self, geometry: ImageGeometry, image_token: int) -> None:
        self.geometry = geometry
        self._image_token = image_token

    def n_tokens(self, size: Size, *, single: bool) -> int:
        """See `Eye.n_tokens`."""
        return token_count(size, self.geometry, single=single)

    def look(self, image: Image.Image, *, single: bool) -> Picture:
        """See `Eye.look`."""
        tiled = tile(image, self.geometry, single=single)
        return Picture(tiled.tiles, tiled.original_size)

    def span(self, n_tokens: int) -> tuple[int, ...]:
        """See `Eye.span`."""
        return (self._image_token,) * n_tokens

    def inputs(
        self,
        pictures: Sequence[Sequence[Picture]],
        input_ids: torch.Tensor,
        dtype: torch.dtype,
    ) -> dict[str, torch.Tensor]:
        """See `Eye.inputs`; tiles of all pictures one behind the other."""
        import torch

        shown = [picture for row in pictures for picture in row]
        if not shown:
            return {}
        device = input_ids.device
        tiles = torch.from_numpy(np.concatenate([picture.values for picture in shown]))
        mean, std = (
            torch.tensor(numbers, device=device)[:, None, None]
            for numbers in (self.geometry.mean, self.geometry.std)
        )
        scaled = tiles.to(device).permute(0, 3, 1, 2).float().mul_(1 / 255)
        return {
            "pixel_values": scaled.sub_(mean).div_(std).to(dtype),
            # The model makes Python's numbers of them, one by one: on a GPU it would wait for each.
            "image_sizes": torch.tensor([picture.shape for picture in shown]),
            "batch_num_images": torch.tensor([len(row) for row in pictures]),
        }

    def positions(
        self,
        model: Any,
        input_ids: torch.Tensor,
        inputs: Mapping[str, Any],
        mask: torch.Tensor | None = None,
    ) -> Any:
        """See `Eye.positions`."""
        import torch

        if mask is not None:
            return (mask.cumsum(1) - 1).clamp(min=0)
        n_rows, length = input_ids.shape
        return torch.arange(length, device=input_ids.device).expand(n_rows, length)

    def record(self) -> dict[str, Any]:
        """See `Eye.record`."""
        return self.geometry.to_dict()


class LlavaOnevision:
    """See `Family`."""

    model_class = "LlavaOnevisionForConditionalGeneration"
    tower = "model.vision_tower"
    projector = "model.multi_modal_projector"
    tower_layers = r"(.*\.)?(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
    image_token_keys = ("image_token_index", "image_token_id")

    def eye(self, folder: Folder, max_tokens: int | None) -> Eye:
        """See `Family.eye`."""
        geometry = _geometry(folder)
        if max_tokens is not None:
            geometry = limited(geometry, max_tokens)
        return TilingEye(geometry, folder.image_token)

    def adjust(self, model_config: Any, eye: Eye) -> None:
        """See `Family.adjust`: the model packs features by the same canvases."""
        if isinstance(eye, TilingEye):
            model_config.image_grid_pinpoints = [list(size) for size in eye.geometry.pinpoints]


def limited(geometry: ImageGeometry, max_tokens: int) -> ImageGeometry:
    """The geometry without the canvases that may take more tokens.

    Raises:
        InputError: all may.
    """
    needed = {size: canvas_tokens(size, geometry) for size in geometry.pinpoints}
    kept = tuple(size for size in geometry.pinpoints if needed[size] <= max_tokens)
    if not kept:
        raise InputError(
            f"images.max_tokens is {max_tokens}, and the smallest canvas takes "
            f"{min(needed.values())}",
            f"give {min(needed.values())} or more",
        )
    return replace(geometry, pinpoints=kept)


def _geometry(folder: Folder) -> ImageGeometry:
    config, settings = folder.config, folder.processor
    vision = config.get("vision_config") or {}
    limit = re.fullmatch(r"anyres_max_(\d{1,6})", str(config.get("vision_aspect_ratio", "")))
    try:
        return ImageGeometry.from_dict(
            {
                "tile_size": vision.get("image_size"),
                "patch_size": vision.get("patch_size"),
                "pinpoints": config.get("image_grid_pinpoints")
                or [[h, w] for h in _SIDES for w in _SIDES],
                "anyres_max": int(limit[1]) if limit else 9,
                "mean": settings.get("image_mean") or [0.5, 0.5, 0.5],
                "std": settings.get("image_std") or [0.5, 0.5, 0.5],
                "resample": _RESAMPLE.get(settings.get("resample", 3)),
            }
        )
    except ArtifactError as error:
        raise ArtifactError(f"{folder.path}: {error.message}", "fetch the base again") from error


FAMILY = LlavaOnevision()
