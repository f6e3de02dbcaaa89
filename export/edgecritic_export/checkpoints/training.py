"""What the summary beside an adapter says of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError, shown
from edgecritic_export.checkpoints.folder import read_json

SUMMARY: Final = "training.json"


def trained_over_nf4(adapter: Path) -> bool | None:
    """Whether the base was in four bits while the adapter was trained; None if nobody says.

    Raises:
        ArtifactError: the summary names a quantization that is not known here.
    """
    if not (adapter / SUMMARY).is_file():
        return None
    base = read_json(adapter / SUMMARY).get("base")
    found = base.get("quantization") if isinstance(base, dict) else None
    if found is None:
        return None
    if found not in ("nf4", "none"):
        raise ArtifactError(
            f"{adapter / SUMMARY}: the base was quantized as {shown(found)}",
            "merge adapters that were trained over NF4 or over the weights as they are",
        )
    return bool(found == "nf4")
