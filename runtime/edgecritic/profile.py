"""What the runtime needs to know of a critic, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgecritic.bundle import Bundle
from edgecritic.manifest import Calibration
from edgecritic.pictures import VisionProfile
from edgecritic.prompts import Dialect
from edgecritic.task import Rubric


@dataclass(frozen=True, slots=True)
class CriticProfile:
    """One critic's name, prompts, scale, calibration and vision.

    Attributes:
        name: as its judgements carry it.
        dialect: the prompts it was trained with.
        rubric: what it is asked for when the caller names no rubric.
        calibration: of its probabilities.
        vision: None for a critic that reads text only.
    """

    name: str
    dialect: Dialect
    rubric: Rubric = field(default_factory=Rubric)
    calibration: Calibration = field(default_factory=Calibration)
    vision: VisionProfile | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> CriticProfile:
        """The profile that a bundle states.

        Raises:
            ArtifactError: a file that it needs is missing or damaged.
        """
        manifest = bundle.manifest
        vision = None
        if manifest.image is not None:
            (tower,) = manifest.having("mmproj")
            vision = VisionProfile(manifest.image, bundle.image_newline(), tower.sha256)
        return cls(bundle.name, bundle.dialect(), manifest.rubric, manifest.calibration, vision)
