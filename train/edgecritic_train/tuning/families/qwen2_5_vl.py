"""Qwen2.5-VL: any resolution, a merger, positions in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from edgecritic.errors import ArtifactError, ImageError, InputError
from edgecritic_train.tuning.families import Eye, Folder, Picture, Size

if TYPE_CHECKING:
    import torch

_START, _END = "<|vision_start|>", "<|vision_end|>"
_KEYS: Final = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
_PIXELS: Final = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}


class PatchEye:
    """Cuts pictures into patches by transformers' own processor.

    Args:
        settings: of that processor.
        image_token: id that stands for one feature.
    """

    framed = True

    def __init__(self, settings: Mapping[str, Any], image_token: int) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        self._settings = dict(settings)
        self._processor = Qwen2VLImageProcessorPil(**settings)
        self._image_token = image_token
        self._unit = self._processor.patch_size * self._processor.merge_size

    def n_tokens(self, size: Size, *, single: bool) -> int:
        """See `Eye.n_tokens`."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        limits = self._settings["size"]
        try:
            height, width = smart_resize(
                *size, self._unit, limits["shortest_edge"], limits["longest_edge"]
            )
        except ValueError as error:
            raise ImageError(
                f"the picture is {size[1]}x{size[0]}: {error}", "crop it, or pad it"
            ) from error
        return int(height // self._unit) * int(width // self._unit)

    def look(self, image: Image.Image, *, single: bool) -> Picture:
        """See `Eye.look`."""
        self.n_tokens((image.height, image.width), single=single)
        found = self._processor(images=[image], return_tensors="np")
        shape = tuple(int(number) for number in found["image_grid_thw"][0])
        return Picture(np.asarray(found["pixel_values"], dtype=np.float32), shape)

    def span(self, n_tokens: int) -> tuple[int, ...]:
        """See `Eye.span`."""
        return (self._image_token,) * n_tokens

    def inputs(
        self,
        pictures: Sequence[Sequence[Picture]],
        input_ids: torch.Tensor,
        dtype: torch.dtype,
    ) -> dict[str, torch.Tensor]:
        """See `Eye.inputs`."""
        import torch

        types = (input_ids == self._image_token).int()
        shown = [picture for row in pictures for picture in row]
        if not shown:
            return {"mm_token_type_ids": types}
        patches = torch.from_numpy(np.concatenate([picture.values for picture in shown]))
        return {
            "pixel_values": patches.to(input_ids.device, dtype),
            "image_grid_thw": torch.tensor(
                [picture.shape for picture in shown], device=input_ids.device
            ),
            "mm_token_type_ids": types,
        }

    def positions(
        self,
        model: Any,
        input_ids: torch.Tensor,
        inputs: Mapping[str, Any],
        mask: torch.Tensor | None = None,
    ) -> Any:
        """See `Eye.positions`."""
        found, _ = model.model.get_rope_index(
            input_ids,
            inputs["mm_token_type_ids"],
            inputs.get("image_grid_thw"),
            attention_mask=mask,
        )
        return found

    def record(self) -> dict[str, Any]:
        """See `Eye.record`."""
        return self._settings


class Qwen25VL:
    """See `Family`."""

    model_class = "Qwen2_5_VLForConditionalGeneration"
    tower = "model.visual"
    projector = "model.visual.merger"
    tower_layers = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate_proj|up_proj|down_proj))"
    image_token_keys = ("image_token_id",)

    def eye(self, folder: Folder, max_tokens: int | None) -> Eye:
        """See `Family.eye`."""
        given = folder.processor
        vision = folder.config.get("vision_config") or {}
        settings: dict[str, Any] = {key: given[key] for key in _KEYS if key in given}
        settings.setdefault("patch_size", vision.get("patch_size", 14))
        settings.setdefault("temporal_patch_size", vision.get("temporal_patch_size", 2))
        settings.setdefault("merge_size", vision.get("spatial_merge_size", 2))
        size = _PIXELS | {k: v for k, v in (given.get("size") or {}).items() if k in _PIXELS}
        for key, old in (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels")):
            size[key] = given.get(old) or size[key]
        unit = (settings["patch_size"] * settings["merge_size"]) ** 2
        if max_tokens is not None:
            if max_tokens * unit < size["shortest_edge"]:
                least = -(-size["shortest_edge"] // unit)
                raise InputError(
                    f"images.max_tokens is {max_tokens}, and the smallest picture takes {least}",
                    f"give {least} or more",
                )
            size["longest_edge"] = min(size["longest_edge"], max_tokens * unit)
        settings["size"] = size
        _check_marks(folder)
        return PatchEye(settings, folder.image_token)

    def adjust(self, model_config: Any, eye: Eye) -> None:
        """See `Family.adjust`: the model takes any grid."""


def _check_marks(folder: Folder) -> None:
    control = folder.tokenizer.control_tokens
    if _START not in control or _END not in control:
        raise ArtifactError(
            f"{folder.path}: the tokenizer has no {_START} or no {_END}",
            "use the tokenizer that the base came with",
        )


FAMILY = Qwen25VL()
