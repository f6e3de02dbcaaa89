"""Pictures of a request to image spans; each is encoded once for all its questions."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image

from edgecritic.backends.base import Backend, Cancelled, CancelToken, FloatArray, ImageSpan
from edgecritic.errors import ArtifactError, ContextOverflowError, InputError
from edgecritic.vision import (
    FeatureCache,
    FeatureKey,
    ImageGeometry,
    ImageLimits,
    ImageSource,
    NativeGeometry,
    ReadImage,
    UInt8Array,
    content_hash,
    decode_image,
    loses_detail,
    pack_features,
    read_image,
    resized,
    tile,
    token_count,
    token_grid,
)

ImageInput: TypeAlias = ImageSource | Sequence[ImageSource] | None
"""A path, encoded bytes, a PIL image, several of them, or None for text only."""
TellTiles: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class VisionProfile:
    """What the pictures of a critic that sees tiles go through.

    Attributes:
        geometry: how they are cut.
        image_newline: (n_embd,) float32, the separator of feature rows.
        tower: names the weights of vision tower and projector.
        own: the critic's own geometry, where `geometry` was made to give less detail.
    """

    geometry: ImageGeometry
    image_newline: FloatArray
    tower: str
    own: ImageGeometry | None = None


@dataclass(frozen=True, slots=True)
class NativeVision:
    """What the pictures of a critic that sees them at their own resolution go through.

    Attributes:
        geometry: how they are resized.
        tower: names the weights of vision tower and projector.
        own: see `VisionProfile`.
    """

    geometry: NativeGeometry
    tower: str
    own: NativeGeometry | None = None


Vision: TypeAlias = VisionProfile | NativeVision

_MOST_KNOWN = 4096
"""Files of pictures whose identity is kept: some hundred bytes each."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """What decides a picture's features and their places: hash of its pixels, (height, width)."""

    content: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A picture that was read, and decoded where nothing else told what it is."""

    read: ReadImage
    identity: _Identity
    decoded: Image.Image | None


class _Album:
    """Identities by the hash of a file's content: a file that comes again is not decoded."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Identity] = OrderedDict()
        self._lock = threading.Lock()

    def look_up(self, source: ImageSource, limits: ImageLimits) -> _Picture:
        """Read a picture; decode it if its content is new."""
        read = read_image(source, limits)
        digest = read.digest
        with self._lock:
            if digest is not None and (known := self._known.get(digest)) is not None:
                self._known.move_to_end(digest)
                return _Picture(read, known, None)
        decoded = decode_image(read, limits)
        identity = _Identity(content_hash(decoded), (decoded.height, decoded.width))
        if digest is not None:
            with self._lock:
                self._known[digest] = identity
                while len(self._known) > _MOST_KNOWN:
                    self._known.popitem(last=False)
        return _Picture(read, identity, decoded)


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
    profile: Vision | None
    cache: FeatureCache = field(default_factory=FeatureCache)
    limits: ImageLimits = field(default_factory=ImageLimits)
    _album: _Album = field(default_factory=_Album, repr=False)

    def __post_init__(self) -> None:
        profile, info = self.profile, self.backend.info
        if profile is None:
            return
        if isinstance(profile, NativeVision) is not info.grid_positions:
            seen = "as they are" if isinstance(profile, NativeVision) else "in tiles"
            raise ArtifactError(
                f"the bundle's pictures are seen {seen}, and the language model's positions "
                f"{'have' if info.grid_positions else 'have no'} rows and columns",
                "export the bundle again",
            )
        if isinstance(profile, VisionProfile) and profile.image_newline.shape != (info.n_embd,):
            raise ArtifactError(
                f"the image newline has shape {profile.image_newline.shape}, "
                f"the language model has width {info.n_embd}",
                "export the bundle again",
            )

    def spans(
        self,
        image: ImageInput,
        cancel: CancelToken | None = None,
        tell: TellTiles = lambda done, total: None,
    ) -> tuple[ImageSpan, ...]:
        """The pictures' features, from the cache where it has them.

        In tiles, a lone picture is seen by AnyRes, and several become one padded square tile
        each. At their own resolution, several pictures are seen like a lone one.

        Args:
            image: the pictures.
            cancel: asked before each tile.
            tell: is told how many tiles of a picture are encoded, and of how many.

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
        if len(sources) == 1:
            picture = self._album.look_up(sources[0], self.limits)
            self._check_fit(_n_tokens(picture.identity.size, self.profile))
            return (self._span(picture, self.profile, False, cancel, tell),)
        # Their tokens are counted before any is encoded, and one decoded picture is held at a
        # time, so those whose size tells may be decoded twice.
        if isinstance(self.profile, NativeVision):
            sizes = (self._album.look_up(source, self.limits).identity.size for source in sources)
            n_tokens = sum(_n_tokens(size, self.profile) for size in sizes)
        else:
            geometry, side = self.profile.geometry, self.profile.geometry.tile_size
            n_tokens = len(sources) * token_count((side, side), geometry, single=True)
        self._check_fit(n_tokens)
        return tuple(
            self._span(self._album.look_up(source, self.limits), self.profile, True, cancel, tell)
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
        self,
        picture: _Picture,
        profile: Vision,
        several: bool,
        cancel: CancelToken | None,
        tell: TellTiles,
    ) -> ImageSpan:
        native = isinstance(profile, NativeVision)
        single = several and not native
        key = FeatureKey(picture.identity.content, profile.geometry.digest, profile.tower, single)
        features = self.cache.get(key)
        if features is None:
            decoded = picture.decoded or decode_image(picture.read, self.limits)
            if isinstance(profile, NativeVision):
                (features,) = self._encoded(resized(decoded, profile.geometry), cancel, tell)
            else:
                tiled = tile(decoded, profile.geometry, single=single)
                encoded = self._encoded(tiled.tiles, cancel, tell)  # as they are packed
                features = pack_features(encoded, tiled, profile.geometry, profile.image_newline)
            self.cache.put(key, features)
        way = "native" if native else "single" if single else "anyres"
        return ImageSpan(
            f"{key.content}/{key.geometry}/{key.vision_tower}/{way}",
            features,
            _grid(picture.identity.size, profile),
            reduced=not single and _loses_detail(picture.identity.size, profile),
        )

    def _encoded(
        self, tiles: UInt8Array, cancel: CancelToken | None, tell: TellTiles
    ) -> Iterator[FloatArray]:
        """Tile by tile, since a large tower needs many seconds for each on a CPU."""
        for index in range(len(tiles)):
            if cancel is not None and cancel.cancelled:
                raise Cancelled
            (features,) = self.backend.encode_tiles(tiles[index : index + 1])
            tell(index + 1, len(tiles))
            yield features


def _grid(size: tuple[int, int], profile: Vision) -> tuple[int, int] | None:
    if isinstance(profile, NativeVision):
        return token_grid(size, profile.geometry)
    return None


def _loses_detail(size: tuple[int, int], profile: Vision) -> bool:
    return profile.own is not None and loses_detail(size, profile.own, profile.geometry)


def _n_tokens(size: tuple[int, int], profile: Vision) -> int:
    """Tokens of a lone picture."""
    if isinstance(profile, NativeVision):
        rows, columns = token_grid(size, profile.geometry)
        return rows * columns
    return token_count(size, profile.geometry)
