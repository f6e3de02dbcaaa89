"""Numbers as JSON that every reader takes: what is not finite is null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path


def to_json(numbers: object) -> str:
    """Nested numbers, indented, with null for NaN and infinities, and a line's end."""
    return json.dumps(_finite(numbers), indent=2, allow_nan=False) + "\n"


def write_json(path: Path, numbers: object) -> None:
    """Write `to_json` to a file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(numbers), encoding="utf-8", newline="\n")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
