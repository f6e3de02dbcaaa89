"""The geometries there are: how each family's pictures become what its tower sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from edgecritic.vision.geometry import ImageGeometry, unusable
from edgecritic.vision.native import NativeGeometry

Geometry: TypeAlias = ImageGeometry | NativeGeometry
"""AnyRes tiles of LLaVA-OneVision, or Qwen2.5-VL's pictures at their own resolution."""


def read_geometry(data: Mapping[str, object]) -> Geometry:
    """Read the form that a geometry's `to_dict` writes.

    Raises:
        ArtifactError: it is of no known kind, or cannot be used.
    """
    if "kind" not in data:  # AnyRes was the only kind at first
        return ImageGeometry.from_dict(data)
    if data["kind"] != NativeGeometry.KIND:
        raise unusable(ValueError(f"kind is {data['kind']!r}, not {NativeGeometry.KIND!r}"))
    return NativeGeometry.from_dict(data)
