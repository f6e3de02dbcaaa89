"""Which quantization to use: the smallest that a report shows to be equivalent, in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecritic import InputError
from edgecritic_bench.checked import amount
from edgecritic_bench.statistics.equivalence import FEWEST_ITEMS
from edgecritic_bench.statistics.power import ALPHA

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SIZE = re.compile(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_POINTS = 100
_LEVELS = 9
"""From the lowest level to the highest, which a margin on scores is a share of."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An answer.

    Attributes:
        arm: name of the arm; empty where none can be recommended.
        words: one sentence.
    """

    arm: str
    words: str


def parse_bytes(text: str) -> float:
    """``8GB``, ``512 MiB``, ``1e9``.

    Raises:
        InputError: it is no size.
    """
    match = _SIZE.fullmatch(text)
    try:
        if match is None:
            return amount(text)
        scale = _UNITS[match[2].upper()]
        if match[3]:
            scale = 1024 ** list(_UNITS).index(match[2].upper())
        return float(match[1]) * scale
    except ValueError:
        raise InputError(f"{text!r} is no size", "write for example 8GB or 512MiB") from None


def recommend(
    arms: Sequence[Mapping[str, Any]], margin: float, max_bytes: float = math.inf
) -> Recommendation:
    """The smallest arm that is equivalent to the reference.

    Args:
        arms: of a report, as `ArmResult.to_dict` has them, the reference first.
        margin: in shares; scores must keep within the same share of their scale.
        max_bytes: of memory; an arm whose memory is not known counts with its files.
    """
    reference = arms[0]["arm"]["name"]
    points = f"{_POINTS * margin:g} points"
    choices = [arm for arm in arms if arm["arm"]["role"] in ("runtime", "quantized")]
    fitting = [arm for arm in choices if memory_of(arm) <= max_bytes]
    if not fitting:
        least = min((memory_of(arm) for arm in choices), default=math.nan)
        return Recommendation("", f"No arm fits: the smallest takes {megabytes(least)}.")
    same = [arm for arm in fitting if equivalent(arm, margin)]
    if same:
        best = min(same, key=lambda arm: (arm["cost"]["n_bytes"], memory_of(arm)))
        return Recommendation(
            best["arm"]["name"],
            f"{best['arm']['name']}: {cost_words(best)}; equivalent to {reference} within "
            f"{points} ({_evidence(best)}){_doubts(best, choices, margin)}.",
        )
    nearest = min(fitting, key=_distance)
    return Recommendation(
        "",
        f"None of {len(fitting)} arms is shown to be equivalent to {reference} within {points}. "
        f"{nearest['arm']['name']} comes nearest ({_evidence(nearest) or 'too few rows'})"
        f"{_cure(nearest, margin)}.",
    )


def equivalent(arm: Mapping[str, Any], margin: float) -> bool:
    """Whether the 90% intervals of all that was compared with the reference lie within a margin."""
    found = [
        (claim, margin * scale)
        for setting, scale in (("pairs", 1), ("scores", _LEVELS))
        if (claim := _claim(arm, setting)) is not None
    ]
    return bool(found) and all(
        claim["difference"]["n_items"] >= FEWEST_ITEMS
        and -within < claim["equivalence"]["low"]
        and claim["equivalence"]["high"] < within
        for claim, within in found
    )


def memory_of(arm: Mapping[str, Any]) -> float:
    """Bytes of memory that an arm takes; at least those of its files."""
    return float(max(arm["cost"]["peak_bytes"], arm["cost"]["n_bytes"]))


def megabytes(n_bytes: float) -> str:
    """``134 MB``, ``4.7 GB``."""
    if not math.isfinite(n_bytes):
        return "an unknown amount"
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"


def cost_words(arm: Mapping[str, Any]) -> str:
    """Disk, memory and time in a row."""
    cost = arm["cost"]
    words = [f"{megabytes(cost['n_bytes'])} on disk"]
    if cost["peak_bytes"]:
        words.append(f"{megabytes(cost['peak_bytes'])} of memory")
    if cost["cpu"] is not None and math.isfinite(cost["cpu"]):
        words.append(f"{cost['cpu']:.2g} s of processor time a judgement")
    return ", ".join(words)


def _cure(arm: Mapping[str, Any], margin: float) -> str:
    """What a claim within this margin takes, which need not be the margin of the report."""
    pairs, scores = _claim(arm, "pairs"), _claim(arm, "scores")
    claim, within = (pairs, margin) if pairs else (scores, margin * _LEVELS)
    if claim is None:
        return ""
    found = claim["difference"]
    rows = math.ceil(claim["rows_needed"] * (claim["equivalence"]["margin"] / within) ** 2)
    told = [f"about {rows:,} rows"] if rows > found["n"] else []
    if found["n_items"] < FEWEST_ITEMS:
        told.append(f"{FEWEST_ITEMS} items at least")
    return f"; a claim takes {', and '.join(told)}" if told else ""


def _claim(arm: Mapping[str, Any], setting: str) -> Mapping[str, Any] | None:
    compared = (arm.get("reference") or {}).get(setting)
    claim: Mapping[str, Any] | None = compared["claim"] if compared else None
    return claim


def _doubts(best: Mapping[str, Any], choices: Sequence[Mapping[str, Any]], margin: float) -> str:
    """What a sceptic asks of an arm that was picked: whether it stands out by chance, or untried.

    An arm has to pass for pairs and for scores, so its claim is as weak as the weaker of both; and
    the smallest of many that pass is picked, so its claim should hold beside all others'.
    """
    told = []
    tested = [
        claim["equivalence"]
        for setting, scale in (("pairs", 1), ("scores", _LEVELS))
        if (claim := _claim(best, setting)) is not None
        and math.isclose(claim["equivalence"]["margin"], margin * scale)
    ]
    if tested and len(choices) > 1:
        weakest = max(one["p_value"] for one in tested)
        told.append(
            f"this holds for {len(choices)} claims at once"
            if weakest * len(choices) <= ALPHA
            else f"of {len(choices)} claims, one as weak may pass by chance"
        )
    if not best["robustness"] and any(arm["robustness"] for arm in choices):
        told.append("it did not judge manipulated rows")
    return "".join(f"; {words}" for words in told)


def _distance(arm: Mapping[str, Any]) -> tuple[float, float, float]:
    """Sorts the arm first that flips least, then that whose interval reaches least far."""
    claim = _claim(arm, "pairs") or _claim(arm, "scores")
    if claim is None:
        return math.inf, math.inf, arm["cost"]["n_bytes"]
    flips = claim.get("flips") or {"lost": 0, "won": 0}
    reach = max(abs(float(claim["equivalence"][end])) for end in ("low", "high"))
    return flips["lost"] + flips["won"], reach, arm["cost"]["n_bytes"]


def _evidence(arm: Mapping[str, Any]) -> str:
    told = []
    for setting, scale, unit in (("pairs", _POINTS, "points"), ("scores", 1, "levels")):
        digits = 1 if unit == "points" else 2
        claim = _claim(arm, setting)
        if claim is not None:
            low, high = (scale * claim["equivalence"][end] for end in ("low", "high"))
            told.append(
                f"{setting}: 90% interval {low:+.{digits}f} to {high:+.{digits}f} {unit} on "
                f"{claim['difference']['n']:,} rows"
            )
    return "; ".join(told)
