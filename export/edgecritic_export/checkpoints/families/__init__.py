"""Model families: each is one module here, named like ``model_type`` in its ``config.json``."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal, TypeAlias

from edgecritic.errors import ArtifactError, shown
from edgecritic.text_shape import Shape, TextShape
from edgecritic.vision import Geometry

Part: TypeAlias = Literal["language", "vision", "projector", "newline"]
Settings: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Where tensors of one part lie in one layout.

    Attributes:
        stored: how their names begin.
        part: of the critic.
        short: what replaces `stored`, so that every layout gives the same names.
    """

    stored: str
    part: Part
    short: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a family reads from a checkpoint's settings.

    Attributes:
        text: of the language model.
        geometry: how pictures become what the vision tower takes.
        shapes: of every tensor of the vision tower, the projector and the newline, by short name;
            the newline's is the empty one.
        unused: beginnings of short names of the vision tower that may be there and that nothing
            reads.
    """

    text: TextShape
    geometry: Geometry
    shapes: Mapping[Part, Mapping[str, Shape]]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """How the checkpoints of one family are laid out.

    Attributes:
        architecture: ``architectures`` of its ``config.json``.
        dialect: prompts in the chat form that its critics were trained with.
        prefixes: of all layouts; the first that fits a name counts.
        read: from ``config.json`` and the image processor's settings (empty where there are none)
            to the numbers; raises `ArtifactError` for what no engine here computes.
    """

    architecture: str
    dialect: str
    prefixes: tuple[Prefix, ...]
    read: Callable[[Settings, Settings], Numbers]

    def place(self, stored: str) -> tuple[Part, str] | None:
        """Part and short name of a stored tensor; None for one that the family does not know."""
        for prefix in self.prefixes:
            if stored.startswith(prefix.stored):
                return prefix.part, prefix.short + stored.removeprefix(prefix.stored)
        return None


NAMES: Final = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load_family(model_type: object) -> Family:
    """The family of a ``config.json``.

    Raises:
        ArtifactError: it is not known.
    """
    if model_type not in NAMES:
        original = " (LLaVA-NeXT's original checkpoints are imported first)"
        raise ArtifactError(
            f"config.json: model_type {shown(model_type)} is not one of {', '.join(NAMES)}",
            "export a checkpoint of these families"
            + (original if str(model_type).startswith("llava") else ""),
        )
    family: Family = import_module(f"{__name__}.{model_type}").FAMILY
    return family
