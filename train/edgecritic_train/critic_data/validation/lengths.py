"""How many tokens a row takes, pictures included, with the tokenizer and geometry of a base."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgecritic.errors import ArtifactError, MissingExtraError, shown
from edgecritic.prompts import ImageSlot
from edgecritic.vision import ImageGeometry, Size, token_count
from edgecritic_train.critic_data.rendering import RenderedRow

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class PictureTokens(Protocol):
    """Tokens of pictures, known from their size."""

    def count(self, sizes: list[Size]) -> int:
        """Tokens of all pictures of a row; each (height, width) in pixels."""
        ...


@dataclass(frozen=True, slots=True)
class AnyRes:
    """LLaVA-OneVision: one picture is tiled, several take one tile each."""

    geometry: ImageGeometry

    def count(self, sizes: list[Size]) -> int:
        """See `PictureTokens`."""
        single = len(sizes) > 1
        return sum(token_count(size, self.geometry, single=single) for size in sizes)


@dataclass(frozen=True, slots=True)
class NativeResolution:
    """Qwen2-VL's kind: a picture keeps its shape, on a grid of merged patches.

    Attributes:
        cell: side of a token's square, in pixels.
        min_pixels: smaller pictures are enlarged.
        max_pixels: larger pictures are shrunk.

    Source: arXiv:2409.12191, section 2.1, and transformers' ``smart_resize``.
    """

    cell: int
    min_pixels: int
    max_pixels: int

    def count(self, sizes: list[Size]) -> int:
        """See `PictureTokens`; what frames a picture (two tokens) is counted."""
        return sum(self._cells(height, width) + 2 for height, width in sizes)

    def _cells(self, height: int, width: int) -> int:
        rows = max(1, round(height / self.cell))
        columns = max(1, round(width / self.cell))
        pixels = rows * columns * self.cell**2
        if pixels > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows = max(1, math.floor(height / shrink / self.cell))
            columns = max(1, math.floor(width / shrink / self.cell))
        elif pixels < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows = math.ceil(height * grow / self.cell)
            columns = math.ceil(width * grow / self.cell)
        return rows * columns


@dataclass(frozen=True, slots=True)
class BaseTokens:
    """Counts tokens as a base model reads them.

    Attributes:
        tokenizer: the base's.
        pictures: its geometry.
        context: positions that it was made for, or None where its files do not say.
    """

    tokenizer: Tokenizer
    pictures: PictureTokens
    context: int | None

    def text(self, rendered: RenderedRow) -> int:
        """Tokens of prompt and answer without pictures."""
        pieces = [p.text for p in rendered.prompt.pieces if not isinstance(p, ImageSlot)]
        pieces += [piece.text for piece in rendered.taught]
        encoded = self.tokenizer.encode_batch(pieces, add_special_tokens=False)
        return sum(len(one.ids) for one in encoded) + rendered.ends

    @classmethod
    def read(cls, folder: Path) -> BaseTokens:
        """Read a folder that transformers can load; only its small files are looked at.

        Raises:
            ArtifactError: a file is missing, or the base is of another family.
            MissingExtraError: the tokenizers package is not installed.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError(
                "counting tokens needs tokenizers", "pip install 'edgecritic[train]'"
            ) from error
        config = _json(folder / "config.json")
        processor = _processor(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", "name the folder of the base model")
        text = config.get("text_config") or config
        return cls(
            Tokenizer.from_file(str(path)),
            _pictures(folder, config, processor),
            text.get("max_position_embeddings") or config.get("max_position_embeddings"),
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}", "name the folder of the base model"
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} is no JSON object", "fetch the base model again")
    return value


def _processor(folder: Path) -> dict[str, Any]:
    """The image processor's settings, wherever this version of transformers has put them."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            settings = _json(folder / name)
            found = settings.get("image_processor", settings)
            return dict(found)
    return {}


def _pictures(
    folder: Path, config: Mapping[str, Any], processor: Mapping[str, Any]
) -> PictureTokens:
    kind = config.get("model_type")
    vision = config.get("vision_config") or {}
    if kind == "llava_onevision":
        limit = re.fullmatch(r"anyres_max_(\d+)", str(config.get("vision_aspect_ratio")))
        pinpoints = config.get("image_grid_pinpoints") or processor.get("image_grid_pinpoints")
        try:
            geometry = ImageGeometry(
                tile_size=int(vision.get("image_size", 384)),
                patch_size=int(vision.get("patch_size", 14)),
                pinpoints=tuple((int(h), int(w)) for h, w in pinpoints or ()),
                anyres_max=int(limit[1]) if limit else 9,
            )
        except (TypeError, ValueError) as error:
            raise ArtifactError(
                f"{folder}/config.json: its image geometry cannot be used: {error}",
                "fetch the base model again",
            ) from error
        return AnyRes(geometry)
    if kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        patch = int(processor.get("patch_size") or vision.get("patch_size") or 14)
        merge = int(processor.get("merge_size") or vision.get("spatial_merge_size") or 2)
        size = processor.get("size") or {}
        low = processor.get("min_pixels") or size.get("shortest_edge") or 56 * 56
        high = processor.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 16_384
        return NativeResolution(patch * merge, int(low), int(high))
    raise ArtifactError(
        f"{folder}/config.json: model_type is {shown(kind)}, whose pictures cannot be counted",
        "known: llava_onevision, qwen2_vl, qwen2_5_vl, qwen3_vl",
    )
