"""What the summary beside an adapter says of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError, shown
from edgecritic_export.checkpoints.folder import read_json

SUMMARY: Final = "training.json"


def trained_over_nf4(adapter: Path) -> bool | None:
    """Whether the base was in four bits while the adapter was trained; None if nobody says.

    Raises:
        ArtifactError: the summary names a quantization that is not known here.
    """
    found = _base(adapter).get("quantization")
    if found is None:
        return None
    if found not in ("nf4", "none"):
        raise ArtifactError(
            f"{adapter / SUMMARY}: the base was quantized as {shown(found)}",
            "merge adapters that were trained over NF4 or over the weights as they are",
        )
    return bool(found == "nf4")


def other_base(adapter: Path, *names: str) -> str | None:
    """What the base was called in the training, if none of `names` has it; None if nobody says.

    Args:
        adapter: its folder.
        names: what the base is called here, such as its path and its repository.
    """
    trained = _base(adapter).get("model")
    if not isinstance(trained, str) or any(Path(trained).name in name for name in names):
        return None
    return trained


def check_kind(adapter: Path, model_type: str) -> None:
    """Check that an adapter was trained on a base of this model type, where its summary says.

    Language models of two families may have the same shapes, so the tensors do not tell.

    Raises:
        ArtifactError: it was trained on another one.
    """
    base = _base(adapter)
    trained = base.get("model_type")
    if trained not in (None, model_type):
        raise ArtifactError(
            f"{adapter} was trained on {shown(base.get('model'))}, of model type "
            f"{shown(trained)}, and this base is of {model_type!r}",
            "name the base that the adapter was trained on",
        )


def _base(adapter: Path) -> dict[str, Any]:
    if not (adapter / SUMMARY).is_file():
        return {}
    base = read_json(adapter / SUMMARY).get("base")
    return base if isinstance(base, dict) else {}
