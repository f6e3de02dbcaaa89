"""What the runtime needs to know of a critic, apart from its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from edgecritic.bundle import Bundle
from edgecritic.errors import ArtifactError, InputError
from edgecritic.manifest import FORMATS, Calibration, Format, Manifest
from edgecritic.pictures import NativeVision, Vision, VisionProfile
from edgecritic.prompts import Dialect
from edgecritic.task import Rubric
from edgecritic.vision import NativeGeometry, capped


@dataclass(frozen=True, slots=True)
class CriticProfile:
    """One critic's name, prompts, scale, calibration and vision.

    Attributes:
        name: as its judgements carry it.
        dialect: the prompts it was trained with.
        rubric: what it is asked for when the caller names no rubric.
        calibration: of its probabilities.
        vision: None for a critic that reads text only.

    Raises:
        ArtifactError: vision and prompts do not fit together.
    """

    name: str
    dialect: Dialect
    rubric: Rubric = field(default_factory=Rubric)
    calibration: Calibration = field(default_factory=Calibration)
    vision: Vision | None = None

    def __post_init__(self) -> None:
        if isinstance(self.vision, NativeVision) and not self.dialect.picture_open:
            raise ArtifactError(
                f"{self.name}: the prompts {self.dialect.identity} do not tell where a picture "
                "begins, which this critic has to be told",
                "export the bundle again with the dialect that it was trained with, such as "
                "edgecritic-qwen-v1",
            )

    @classmethod
    def of(cls, bundle: Bundle, format_: Format | None = None) -> CriticProfile:
        """The profile that a bundle states.

        Args:
            bundle: of the critic.
            format_: of the files that are judged with; the bundle's first format when left out.

        Raises:
            ArtifactError: a file that it needs is missing or damaged.
        """
        manifest = bundle.manifest
        vision: Vision | None = None
        if manifest.image is not None:
            tower = tower_digest(manifest, format_ or manifest.formats[0])
            vision = (
                NativeVision(manifest.image, tower)
                if isinstance(manifest.image, NativeGeometry)
                else VisionProfile(manifest.image, bundle.image_newline(), tower)
            )
        return cls(bundle.name, bundle.dialect(), manifest.rubric, manifest.calibration, vision)

    def capped(self, max_tiles: int | None, max_image_tokens: int | None) -> CriticProfile:
        """The same with less detail in its pictures; see `edgecritic.vision.caps`.

        Raises:
            InputError: the critic cannot be capped so.
        """
        if max_tiles is None and max_image_tokens is None:
            return self
        if self.vision is None:
            raise InputError(
                f"{self.name} reads text only: there is nothing to cap", "leave the cap out"
            )
        own = self.vision.geometry
        used = capped(own, max_tiles, max_image_tokens)
        # Both are of one kind, which the checker cannot know.
        vision = replace(self.vision, geometry=used, own=own)  # type: ignore[arg-type]
        return replace(self, vision=vision)


def tower_digest(manifest: Manifest, format_: Format) -> str:
    """Names the vision tower of a format: other weights or another number format, another name.

    Where a tower is not a file of its own (external data, checkpoints), the files that may hold
    it are named together.
    """
    files = FORMATS[format_]
    if files.tower is not None and not manifest.having("external_data"):
        (tower,) = manifest.having(files.tower)
        return tower.sha256
    together = "".join(file.sha256 for role in files.roles for file in manifest.having(role))
    return hashlib.sha256(together.encode()).hexdigest()
