"""What a bundle says of its critic that no weight file tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from edgecritic.errors import InputError, shown
from edgecritic.manifest import NAME, BundleFile, Calibration, DialectRef, Manifest
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic_export.checkpoints.families import load_family
from edgecritic_export.checkpoints.folder import Checkpoint

BASE_LICENCE: Final = "base_licence"
DATA_LICENCES: Final = "data_licences"
"""Where a manifest's summary of the training states licences."""


@dataclass(frozen=True, slots=True)
class CriticFacts:
    """A critic's name and origin.

    Attributes:
        name: of the critic, also of its files.
        version: of the critic.
        base_model: what it was trained from.
        licence: SPDX expression of the exported files.
        dialect: the prompts it was trained with; those of its family when left out.
        rubric: the range it was trained on.
        n_ctx: tokens that it shall be run with at most; the checkpoint's own limit is the bound.
        calibration: of its probabilities.
        training: summary of its training, JSON.
        base_licence: of what it was trained from, in words.
        data_licences: of what it was trained on, in words.
        good_for: what it judges well, in words.
        bad_for: what it does not.

    Raises:
        InputError: name or version is none that a manifest may hold.
    """

    name: str
    version: str
    base_model: str
    licence: str
    dialect: str | None = None
    rubric: Rubric = field(default_factory=Rubric)
    n_ctx: int = 16_384
    calibration: Calibration = field(default_factory=Calibration)
    training: object = None
    base_licence: str = ""
    data_licences: str = ""
    good_for: tuple[str, ...] = ()
    bad_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("version", self.version)):
            if not isinstance(value, str) or not re.fullmatch(NAME, value):
                raise InputError(
                    f"the critic's {what} is {shown(value)}",
                    "use up to 128 Latin letters, digits and . _ + -, a letter or digit first",
                )

    def manifest(self, checkpoint: Checkpoint, files: tuple[BundleFile, ...]) -> Manifest:
        """The manifest of a bundle of these files, not verified yet."""
        dialect = load_dialect(self.dialect or load_family(checkpoint.family).dialect)
        return Manifest(
            name=self.name,
            version=self.version,
            family=checkpoint.family,
            files=files,
            base_model=self.base_model,
            dialect=DialectRef(dialect.name, dialect.digest),
            rubric=self.rubric,
            n_ctx=min(self.n_ctx, checkpoint.text.n_ctx),
            image=checkpoint.geometry,
            calibration=self.calibration,
            licence=self.licence,
            training=self._training(),
            verification=None,
            good_for=self.good_for,
            bad_for=self.bad_for,
            created=datetime.now(UTC).date().isoformat(),
        )

    def _training(self) -> object:
        stated = {
            key: text
            for key, text in (
                (BASE_LICENCE, self.base_licence),
                (DATA_LICENCES, self.data_licences),
            )
            if text
        }
        if not stated:
            return self.training
        return {**(self.training if isinstance(self.training, Mapping) else {}), **stated}
