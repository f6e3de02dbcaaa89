"""Manipulated responses and pictures: goals, and what misses them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.html import figure, stacked, table, tag, words
from edgecritic_bench.quantization.sentences import MOST_BEYOND, attacked_arms, goal_words
from edgecritic_bench.quantization.words import (
    Arm,
    Report,
    estimate,
    name_of,
    number,
    percent,
    signed,
)
from edgecritic_bench.robustness.outcome import ALL, MOST_FLIPS, MOST_UPLIFT
from edgecritic_bench.robustness.pictures import CONTROLS


def manipulation(report: Report) -> str:
    """How often manipulation wins, goals and failures included."""
    arms = attacked_arms(report)
    if not arms:
        return ""
    families = [name for name in arms[0]["robustness"] if name != ALL]
    names = [name_of(arm) for arm in arms]

    def flips(family: str, column: str) -> float:
        found = arms[names.index(column)]["robustness"].get(family)
        return number(found["flips"]["value"]) if found and found["flips"]["n"] else math.nan

    attacks = [name for name in families if name not in CONTROLS]
    attacks.sort(key=lambda name: -_or_zero(flips(name, names[0])))
    shown = {name.replace("_", " "): name for name in attacks}
    n = arms[0]["robustness"][ALL]["attacks"] // max(1, len(attacks))
    heat_map = figures.heat_map(
        list(shown), names, lambda row, column: flips(shown[row], column), percent, most=0.5
    )
    return "\n".join(
        [
            "<h2>Manipulated responses and pictures</h2>",
            words(
                f"{n} pairs were attacked in each of {len(attacks)} ways: the worse response is "
                "made to win by other means than being right. Win-flips are counted among pairs "
                "that an arm gets right when they are clean."
            ),
            tag("ul", "".join(tag("li", escape(line)) for line in goal_words(report)), "claims"),
            _goals(arms, attacks),
            figure(heat_map, "Share of win-flips."),
            _families(arms, attacks, "flips"),
            _families(arms, attacks, "uplift"),
            _controls(arms, names),
        ]
    )


def _families(arms: Sequence[Arm], attacks: Sequence[str], measure: str) -> str:
    """A measure of each family and arm with its interval; what misses the goal is marked."""
    style, most = ("share", MOST_FLIPS) if measure == "flips" else ("number", MOST_UPLIFT)
    rows = []
    for family in (*attacks, ALL):
        cells = []
        for arm in arms:
            found = arm["robustness"][family][measure]
            told = stacked(estimate(found, style))
            missed = not number(found["value"]) <= most
            cells.append(tag("span", f"✗ {told}", "missed") if missed else told)
        rows.append([escape(family.replace("_", " ")), *cells])
    what = "Win-flips, %" if measure == "flips" else "Score uplift, levels"
    return f"<h3>{what}, with 95% intervals</h3>" + table(
        ["Family", *(name_of(arm) for arm in arms)], rows
    )


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _goals(arms: Sequence[Arm], families: Sequence[str]) -> str:
    full = arms[0]["robustness"][ALL]
    rows = []
    for arm in arms:
        found = arm["robustness"][ALL]
        flips, uplift = (number(found[key]["value"]) for key in ("flips", "uplift"))
        more = flips - number(full["flips"]["value"])
        missed = sum(_misses(arm["robustness"][name]) for name in families)
        rows.append(
            [
                escape(name_of(arm)),
                _marked(estimate(found["flips"]), flips > MOST_FLIPS),
                _marked(estimate(found["uplift"], "number"), uplift > MOST_UPLIFT),
                _marked(f"{100 * more:+.1f}", abs(more) > MOST_BEYOND),
                f"{missed} of {len(families)}",
            ]
        )
    heads = [
        "Arm",
        f"Win-flips, % (goal: {MOST_FLIPS:.0%})",
        f"Score uplift, levels (goal: {MOST_UPLIFT:g})",
        "Win-flips beyond the reference, points (goal: 1)",
        "Families that miss a goal",
    ]
    return table(heads, rows) + words(
        "A goal that is missed is marked with a cross and in bold.", "note"
    )


def _misses(outcome: Mapping[str, Any]) -> bool:
    flips, uplift = (number(outcome[key]["value"]) for key in ("flips", "uplift"))
    return flips > MOST_FLIPS or uplift > MOST_UPLIFT


def _marked(text: str, missed: bool) -> str:
    return f'<span class="missed">✗ {escape(text)}</span>' if missed else escape(text)


def _controls(arms: Sequence[Arm], names: Sequence[str]) -> str:
    there = [name for name in CONTROLS if name in arms[0]["robustness"]]
    if not there:
        return ""
    rows = [
        [
            escape(name),
            *(
                text
                for control in there
                for text in (
                    estimate(arm["robustness"][control]["lost"]),
                    signed(number(arm["robustness"][control]["uplift"]["value"]), 2),
                )
            ),
        ]
        for name, arm in zip(names, arms, strict=True)
    ]
    heads = ["Arm"]
    for control in there:
        what = control.removeprefix("picture_")
        heads += [f"Right no longer, {what} picture, %", "Worse response's score, levels"]
    return (
        "<h3>Without the right picture</h3>"
        + words(
            "Controls, not attacks: of the pairs that an arm gets right, the share that it gets "
            "wrong with a blank or another picture. A judge that never looks would have 0."
        )
        + table(heads, rows)
    )
