"""Pictures of a request to image spans; each is encoded once for all its questions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from PIL import Image

from edgecritic.backends.base import Backend, Cancelled, CancelToken, FloatArray, ImageSpan
from edgecritic.errors import ArtifactError, ContextOverflowError, InputError
from edgecritic.vision import (
    FeatureCache,
    FeatureKey,
    ImageGeometry,
    ImageLimits,
    ImageSource,
    content_hash,
    load_image,
    pack_features,
    tile,
    token_count,
)

ImageInput: TypeAlias = ImageSource | Sequence[ImageSource] | None
"""A path, encoded bytes, a PIL image, several of them, or None for text only."""


@dataclass(frozen=True, slots=True, eq=False)
class VisionProfile:
    """What a critic's pictures go through.

    Attributes:
        geometry: how they are cut.
        image_newline: (n_embd,) float32, the separator of feature rows.
        tower: names the weights of vision tower and projector.
    """

    geometry: ImageGeometry
    image_newline: FloatArray
    tower: str


def as_images(image: ImageInput) -> list[ImageSource]:
    """One picture, several or none as a list."""
    if image is None:
        return []
    if isinstance(image, str | bytes | os.PathLike | Image.Image):
        return [image]
    if isinstance(image, list | tuple):
        return list(image)
    raise InputError(
        f"image is {type(image).__name__}, not a picture",
        "give a path, bytes, a PIL image, or a list of them",
    )


@dataclass(slots=True)
class PictureEncoder:
    """Encodes pictures for one engine.

    Attributes:
        backend: runs the vision tower.
        profile: the critic's, or None if it reads text only.
        cache: features of pictures seen before.
        limits: what is decoded at all.

    Raises:
        ArtifactError: the critic's files do not fit together.
    """

    backend: Backend
    profile: VisionProfile | None
    cache: FeatureCache = field(default_factory=FeatureCache)
    limits: ImageLimits = field(default_factory=ImageLimits)

    def __post_init__(self) -> None:
        width = self.backend.info.n_embd
        if self.profile is not None and self.profile.image_newline.shape != (width,):
            raise ArtifactError(
                f"the image newline has shape {self.profile.image_newline.shape}, "
                f"the language model has width {width}",
                "export the bundle again",
            )

    def spans(self, image: ImageInput, cancel: CancelToken | None = None) -> tuple[ImageSpan, ...]:
        """The pictures' features, from the cache where it has them.

        A lone picture is tiled (AnyRes); several become one padded square tile each.

        Raises:
            InputError: there are pictures and the critic reads text only.
            ImageError: a picture cannot be used.
            ContextOverflowError: the pictures alone fill the context; nothing was encoded.
            Cancelled: `cancel` was set.
        """
        sources = as_images(image)
        if not sources:
            return ()
        if self.profile is None:
            raise InputError(
                "this critic reads text only, and a picture was given",
                "leave the picture out, or load a critic with a vision tower",
            )
        geometry = self.profile.geometry
        if len(sources) == 1:
            picture = load_image(sources[0], self.limits)
            self._check_fit(token_count((picture.height, picture.width), geometry))
            return (self._span(picture, self.profile, False, cancel),)
        # Their tokens are known before any is decoded, and one decoded picture is held at a time.
        side = geometry.tile_size
        self._check_fit(len(sources) * token_count((side, side), geometry, single=True))
        return tuple(
            self._span(load_image(source, self.limits), self.profile, True, cancel)
            for source in sources
        )

    def _check_fit(self, n_tokens: int) -> None:
        n_ctx = self.backend.info.n_ctx
        if n_tokens >= n_ctx:
            raise ContextOverflowError(
                f"the pictures alone take {n_tokens} tokens, and the context has {n_ctx}: "
                "0 tokens of text fit",
                "use fewer or smaller pictures, or load the critic with a larger n_ctx",
            )

    def _span(
        self, picture: Image.Image, profile: VisionProfile, single: bool, cancel: CancelToken | None
    ) -> ImageSpan:
        key = FeatureKey(content_hash(picture), profile.geometry.digest, profile.tower, single)
        features = self.cache.get(key)
        if features is None:
            tiled = tile(picture, profile.geometry, single=single)
            encoded = []
            for index in range(len(tiled.tiles)):
                # Tile by tile, since a large tower needs many seconds for each on a CPU.
                if cancel is not None and cancel.cancelled:
                    raise Cancelled
                encoded.append(self.backend.encode_tiles(tiled.tiles[index : index + 1]))
            features = pack_features(
                np.concatenate(encoded), tiled, profile.geometry, profile.image_newline
            )
            self.cache.put(key, features)
        return ImageSpan(
            f"{key.content}/{key.geometry}/{key.vision_tower}/{'single' if single else 'anyres'}",
            features,
        )
