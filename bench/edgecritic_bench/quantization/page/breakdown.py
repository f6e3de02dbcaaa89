"""What suffers first, whether probabilities mean what they say, and all numbers by gold."""

from __future__ import annotations

import math
from html import escape

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.html import figure, table
from edgecritic_bench.quantization.page.svg import BLUE, ORANGE
from edgecritic_bench.quantization.tables import metric
from edgecritic_bench.quantization.words import (
    NONE,
    SHARES,
    Report,
    decimals,
    estimate,
    name_of,
    number,
    percent,
)


def categories(report: Report) -> str:
    """Heat maps of what changed by category and by data set."""
    arms = [arm for arm in report["arms"][1:] if arm["reference"]]
    parts = ["<h2>What suffers first</h2>"]
    for group, title in (("by_source", "By data set"), ("by_category", "By category")):
        rows = list(dict.fromkeys(name for arm in arms for name in arm["reference"][group]))
        if len(rows) < 2:
            continue
        parts.append(f"<h3>{title}</h3>")
        for part, caption, write in (
            ("winners", "Share of pairs with another winner than the reference's.", percent),
            ("scores", "Mean distance of scores from the reference's, levels.", _two),
        ):

            def value(row: str, column: str, part: str = part, group: str = group) -> float:
                arm = next(arm for arm in arms if name_of(arm) == column)
                found = arm["reference"][group].get(row)
                return number(found[part]["value"]) if found and found[part]["n"] else math.nan

            names = [name_of(arm) for arm in arms]
            if any(math.isfinite(value(row, name)) for row in rows for name in names):
                parts.append(figure(figures.heat_map(rows, names, value, write), caption))
    return "\n".join(parts) if len(parts) > 1 else ""


def _two(value: float) -> str:
    return decimals(value, 2)


def calibration(report: Report) -> str:
    """Whether probabilities mean what they say."""
    parts = ["<h2>Calibration</h2>"]
    for setting, colour in (("pairs", BLUE), ("scores", ORANGE)):
        drawn = [
            figures.reliability(arm[setting]["reliability"], name_of(arm), colour)
            for arm in report["arms"]
            if arm[setting] and arm["arm"]["role"] != "rerun"
        ]
        if drawn:
            what = "winner of a pair" if setting == "pairs" else "most likely level of a score"
            parts.append(
                figure(
                    drawn,
                    f"The {what}: across the probability that it is given, upwards the share that "
                    "is right. The dashed line is perfect; dots grow with their rows.",
                )
            )
    return "\n".join(parts) if len(parts) > 1 else ""


def by_gold(report: Report) -> str:
    """All metrics by gold."""
    parts = ["<h2>All numbers by gold</h2>"]
    for setting in ("pairs", "scores"):
        first = report["arms"][0][setting]
        if not first:
            continue
        rows = [
            [
                escape(name),
                *(
                    estimate(metric(arm, setting, name), "share" if name.startswith(SHARES) else "")
                    for arm in report["arms"]
                ),
            ]
            for name in first["metrics"]
        ]
        unread = [str((arm[setting] or {}).get("unread", NONE)) for arm in report["arms"]]
        rows.append(["unread rows", *unread])
        parts.append(f"<h3>{setting.capitalize()}, {first['rows']:,} rows</h3>")
        parts.append(table(["", *(name_of(arm) for arm in report["arms"])], rows))
    return "\n".join(parts)
