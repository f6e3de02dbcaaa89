"""What suffers first, whether probabilities mean what they say, and all numbers by gold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.html import figure, stacked, table
from edgecritic_bench.quantization.page.splits import splits
from edgecritic_bench.quantization.page.svg import BLUE, ORANGE
from edgecritic_bench.quantization.tables import metric
from edgecritic_bench.quantization.words import (
    NONE,
    SHARES,
    Arm,
    Report,
    decimals,
    estimate,
    name_of,
    number,
    percent,
)


def categories(report: Report) -> str:
    """What changed by data set and by category."""
    arms = [arm for arm in report["arms"][1:] if arm["reference"]]
    rows = {
        name.replace("_", " "): name for arm in arms for name in arm["reference"]["by_category"]
    }
    by_name = {name_of(arm): arm for arm in arms}
    drawn = []
    for part, caption, write in (
        ("winners", "Share of pairs with another winner than the reference's.", percent),
        ("scores", "Mean distance of scores from the reference's, levels.", _two),
    ):

        def value(row: str, column: str, part: str = part) -> float:
            found = by_name[column]["reference"]["by_category"].get(rows[row])
            return number(found[part]["value"]) if found and found[part]["n"] else math.nan

        if any(math.isfinite(value(row, name)) for row in rows for name in by_name):
            heat_map = figures.heat_map(list(rows), list(by_name), value, write)
            drawn.append(figure(heat_map, caption))
    by_category = ["<h3>By category</h3>", *drawn] if len(rows) > 1 and drawn else []
    parts = [part for part in (splits(report), *by_category) if part]
    return "\n".join(["<h2>What suffers first</h2>", *parts]) if parts else ""


def _two(value: float) -> str:
    return decimals(value, 2)


def calibration(report: Report) -> str:
    """Whether probabilities mean what they say."""
    parts = ["<h2>Calibration</h2>"]
    for setting, colour in (("pairs", BLUE), ("scores", ORANGE)):
        arms = [arm for arm in report["arms"] if arm[setting] and arm["arm"]["role"] != "rerun"]
        if arms:
            what = "winner of a pair" if setting == "pairs" else "most likely level of a score"
            told = (
                f"The {what}: across the probability that it is given, upwards the share that is "
                "right. The dashed line is perfect; dots grow with their rows."
            )
            if len(arms) > figures.MANY:
                told += (
                    f" Of {len(arms)} arms the first, and those whose error is furthest from its; "
                    "errors of all stand among the numbers by gold."
                )
            drawn = [
                figures.reliability(arm[setting]["reliability"], name_of(arm), colour)
                for arm in _unlike(arms, setting)
            ]
            parts.append(figure(drawn, told))
    return "\n".join(parts) if len(parts) > 1 else ""


def _unlike(arms: Sequence[Arm], setting: str) -> list[Arm]:
    """All arms, or of many the first and those with errors of calibration most unlike its."""
    if len(arms) <= figures.MANY:
        return list(arms)

    def error(arm: Arm) -> float:
        return number(arm[setting]["reliability"]["error"]["value"])

    far = sorted(arms[1:], key=lambda arm: -abs(error(arm) - error(arms[0])))
    return [arm for arm in arms if arm is arms[0] or arm in far[: figures.DRAWN - 1]]


def by_gold(report: Report) -> str:
    """All metrics by gold."""
    parts = ["<h2>All numbers by gold</h2>"]
    for setting in ("pairs", "scores"):
        first = report["arms"][0][setting]
        if not first:
            continue
        rows = [
            [
                escape(name_of(arm)),
                *(
                    stacked(
                        estimate(metric(arm, setting, name), "share" if _is_share(name) else "")
                    )
                    for name in first["metrics"]
                ),
                str((arm[setting] or {}).get("unread", NONE)),
            ]
            for arm in report["arms"]
        ]
        heads = [f"{name}, %" if _is_share(name) else name for name in first["metrics"]]
        parts.append(f"<h3>{setting.capitalize()}, {first['rows']:,} rows</h3>")
        parts.append(table(["Arm", *heads, "unread"], rows))
    return "\n".join(parts)


def _is_share(metric_name: str) -> bool:
    return metric_name.startswith(SHARES)
