"""What a report's sections come to, in words that its page and its Markdown share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from edgecritic_bench.quantization.words import (
    Arm,
    Report,
    decimals,
    name_of,
    number,
    percent,
    signed,
)
from edgecritic_bench.robustness.outcome import ALL, MOST_FLIPS, MOST_UPLIFT

MOST_BEYOND = 0.01
"""Difference of win-flip rates from the reference's that a quantization should not exceed."""
_NAMED = 10
"""Refused rows that are told in words."""
NEARER = {"changed": "turned winners", "kl": "divergence", "moved": "moved scores"}
"""How two roundings are compared, by key of a contrast."""


def left_words(report: Report) -> str:
    """That a report is not of all rows, and whose judgements are wanting; empty when it is."""
    rows = report["rows"]
    if not rows["left"]:
        return ""
    told = ", ".join(f"{name} {count:,}" for name, count in rows["left"].items())
    return (
        f"An interim report: {rows['judged']:,} of {rows['planned']:,} rows were judged by all "
        f"arms. Not judged yet: {told}. The same command without --report-now judges them."
    )


def refused_words(report: Report) -> Iterator[str]:
    """Rows that could not be judged at all, who refused them, and why; the first few by name."""
    refused = report["rows"]["refused"]
    for one in refused[:_NAMED]:
        yield f"{one['row']} was refused by {', '.join(one['arms'])}: {one['why']}"
    if len(refused) > _NAMED:
        yield f"{len(refused) - _NAMED:,} more rows were refused; the JSON form names them."


def reason_words(report: Report) -> str:
    """How many of the shown verdicts have a reason, and why others have none."""
    reasons = report["reasons"]
    if not reasons["missing"]:
        return f"all {reasons['asked']:,} verdicts to explain have a reason"
    causes: dict[str, list[str]] = {}
    for name, why in reasons["missing"].items():
        causes.setdefault(why, []).append(name)
    told = "; ".join(f"{', '.join(names)}: {why}" for why, names in causes.items())
    return f"{reasons['given']:,} of {reasons['asked']:,} verdicts have a reason. Missing: {told}"


def explained(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Reasons of a shown row, arms that gave the same words together: names, and the words."""
    found: dict[str, list[str]] = {}
    for name, reason in sample["reasons"].items():
        found.setdefault(reason, []).append(name)
    return [(", ".join(names), reason or NO_REASON) for reason, names in found.items()]


NO_REASON = "(no reason was written)"


def split_words(report: Report) -> str:
    """Which data set changed most, over the quantized arms; empty for one data set alone."""
    arms = [arm for arm in report["arms"][1:] if arm["reference"]]
    names = sources_of(arms)
    if len(names) < 2:
        return ""
    return " ".join(filter(None, (_most_changed(arms, names, part) for part in CHANGES)))


CHANGES = ("winners", "scores")
"""What changes in a data set."""


def sources_of(arms: Sequence[Arm]) -> list[str]:
    """Names of data sets in which anything was compared."""
    return list(dict.fromkeys(name for arm in arms for name in arm["reference"]["by_source"]))


def changed_in(arm: Arm, source: str, part: str) -> Mapping[str, Any] | None:
    """An arm's estimate for winners or scores of a data set; None where nothing was compared."""
    group = arm["reference"]["by_source"].get(source)
    return group[part] if group and group[part]["n"] else None


def _most_changed(arms: Sequence[Arm], names: Sequence[str], part: str) -> str:
    changes = [
        [number((changed_in(arm, name, part) or {}).get("value")) for name in names]
        for arm in arms
        if arm["arm"]["role"] == "quantized"
    ]
    changes = [values for values in changes if all(map(math.isfinite, values))]
    if not changes:
        return ""
    means = {name: fmean(values[k] for values in changes) for k, name in enumerate(names)}
    leads = {
        name: sum(values[k] == max(values) > min(values) for values in changes)
        for k, name in enumerate(names)
    }
    write = percent if part == "winners" else decimals
    told = ", ".join(
        f"{name} {write(means[name])}, most of all in {leads[name]} arms"
        for name in sorted(names, key=lambda name: -means[name])
    )
    subject = "Winners changed" if part == "winners" else "Scores moved, levels"
    return f"{subject}, mean of {len(changes)} quantized arms: {told}."


def attacked_arms(report: Report) -> list[Arm]:
    """The arms that judged manipulated rows, the reference first."""
    return [arm for arm in report["arms"] if arm["robustness"] and arm["arm"]["role"] != "rerun"]


def goal_words(report: Report) -> Iterator[str]:
    """Each goal of manipulation: who reaches it and who misses it; nothing without attacks."""
    arms = attacked_arms(report)
    if not arms:
        return
    full = _of_all("flips")(arms[0])
    goals: tuple[tuple[str, Callable[[Arm], float], float, Callable[[float], str]], ...] = (
        (f"Win-flips at most {MOST_FLIPS:.0%}", _of_all("flips"), MOST_FLIPS, percent),
        (f"Score uplift at most {MOST_UPLIFT:g} levels", _of_all("uplift"), MOST_UPLIFT, signed),
        (
            "Win-flips within a point of the reference's",
            lambda arm: abs(_of_all("flips")(arm) - full),
            MOST_BEYOND,
            lambda value: f"{100 * value:.1f} points",
        ),
    )
    for goal, value, most, write in goals:
        missed = [f"{name_of(arm)} ({write(value(arm))})" for arm in arms if not value(arm) <= most]
        told = f"missed by {', '.join(missed)}" if missed else "reached by every arm"
        rest = len(arms) - len(missed)
        yield f"{goal}: {told}{f'; {rest} of {len(arms)} arms reach it' if missed else ''}."


def _of_all(measure: str) -> Callable[[Arm], float]:
    return lambda arm: number(arm["robustness"][ALL][measure]["value"])


def prediction_words(report: Report) -> str:
    """Whether divergence orders the quantized arms as their flips do."""
    found = report["prediction"]
    if not found["verdict_kl"]["n"]:
        return (
            f"{found['arms']} quantized arms are too few to say; here is what was measured. "
            "Divergence at the verdict stands beside that of all next tokens, where an export was "
            "verified."
        )
    told = f"at the verdict {_rank(found['verdict_kl'])} over {found['arms']} quantized arms"
    if n := found["token_kl"]["n"]:
        told += (
            f"; over the {n} whose export was verified {_rank(found['token_kl'])} of next tokens, "
            f"and {_rank(found['verdict_kl_there'])} at the verdict"
        )
    return (
        "Spearman's rank correlation of divergence with flips, with its 95% interval over arms: "
        f"{told}. Arms are kin, made of one checkpoint, so it says what holds among such arms."
    )


def _rank(found: Mapping[str, Any]) -> str:
    value, low, high = (number(found[key]) for key in ("value", "low", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def rounding_words(report: Report) -> str:
    """In how many comparisons a matrix clearly helped, or harmed."""
    found = report["roundings"]
    counts = {
        key: [sum(direction(one[key]) == sign for one in found) for sign in (-1, 1)]
        for key in NEARER
    }
    told = "; ".join(
        f"by {NEARER[key]} {nearer} nearer, {further} further"
        for key, (nearer, further) in counts.items()
    )
    return (
        "The same type, rounded with different matrices or none, row by row: what one arm changed "
        "against full precision in its runtime less what the other changed. Below 0 the "
        f"first-named arm is nearer to full precision. Of {len(found)} comparisons, those whose "
        f"interval leaves 0 out (in bold; one in twenty would by chance): {told}."
    )


def direction(found: Mapping[str, Any]) -> int:
    """-1 or 1 where the whole interval lies on one side of 0."""
    low, high = number(found["low"]), number(found["high"])
    return 1 if low > 0 else -1 if high < 0 else 0
