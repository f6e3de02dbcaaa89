"""Numbers as people read them, in tables of every form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Report: TypeAlias = Mapping[str, Any]
Arm: TypeAlias = Mapping[str, Any]
NONE = "-"
SHARES = ("accuracy", "consistency", "coverage", "exact", "longer", "preference")
"""How names of metrics begin that are shares, and written in percent."""
STANDINGS = {
    "equivalent": "equivalent",
    "worse": "worse",
    "better": "better",
    "refused": "not shown",
}
"""What a claim of parity comes to, in a word."""


def number(value: object) -> float:
    """A number of a report; NaN where it holds none."""
    return float(value) if isinstance(value, int | float) else math.nan


def percent(value: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * value:.{digits}f}%" if math.isfinite(value) else NONE


def points(value: float) -> str:
    """A difference of shares, signed, in points of a hundred."""
    return f"{100 * value:+.1f}" if math.isfinite(value) else NONE


def decimals(value: float, digits: int = 3) -> str:
    """A plain number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else NONE


def signed(value: float, digits: int = 3) -> str:
    """A plain number with its sign."""
    return f"{value:+.{digits}f}" if math.isfinite(value) else NONE


def seconds(value: float) -> str:
    """``0.35 s``."""
    return f"{value:.2g} s" if math.isfinite(value) else NONE


def estimate(found: Mapping[str, Any] | None, style: str = "share") -> str:
    """An estimate with its 95% interval; shares in percent."""
    if not found or not found["n"]:
        return NONE
    value, low, high = (number(found[key]) for key in ("value", "low", "high"))
    if style == "share":
        value, low, high, digits = 100 * value, 100 * low, 100 * high, 1
    else:
        digits = 3
    if not math.isfinite(low):
        return decimals(value, digits)
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def name_of(arm: Arm) -> str:
    """An arm's name."""
    return str(arm["arm"]["name"])


def arms_of(report: Report, *roles: str) -> list[Arm]:
    """The arms of some roles."""
    return [arm for arm in report["arms"] if arm["arm"]["role"] in roles]


def claim_of(arm: Mapping[str, Any], setting: str, against: str = "reference") -> dict[str, Any]:
    """What may be said of an arm; empty where nothing was claimed."""
    compared = (arm.get(against) or {}).get(setting) or {}
    return compared.get("claim") or {}


def compared(arm: Mapping[str, Any], setting: str, against: str = "reference") -> dict[str, Any]:
    """The comparison of an arm; empty where there is none."""
    found: dict[str, Any] = (arm.get(against) or {}).get(setting) or {}
    return found


def drift(arm: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Share of pairs with another winner, by what made it change.

    Args:
        arm: of a report.
        arms: all of them by name.

    Returns:
        NaN for what does not apply, or cannot be told apart.
    """
    rerun = next((one for one in arms.values() if one["arm"]["role"] == "rerun"), None)
    full = arm["arm"]["role"] == "runtime"
    base = arm if full else arms.get(arm["arm"]["base"])
    return {
        "noise": _changed(rerun, "reference"),
        "runtime": _changed(base, "reference"),
        "quantization": math.nan if full else _changed(arm, "base"),
        "in all": _changed(arm, "reference"),
    }


def _changed(arm: Mapping[str, Any] | None, against: str) -> float:
    found = compared(arm or {}, "pairs", against)
    return number(found["changed"]["value"]) if found else math.nan


def engines_of(report: Report) -> list[tuple[str, list[str]]]:
    """Engines with their devices, and the arms that each of them ran."""
    found: dict[str, list[str]] = {}
    for arm in report["arms"]:
        found.setdefault(arm["engine"], []).append(name_of(arm))
    return list(found.items())
