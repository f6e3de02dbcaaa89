"""Importance matrices: what weighing the rounding did."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.page.html import table, words
from edgecritic_bench.quantization.sentences import direction, rounding_words
from edgecritic_bench.quantization.words import NONE, Report, number, signed


def roundings(report: Report) -> str:
    """Arms that differ in their importance matrix alone; empty where none do."""
    found = report["roundings"]
    if not found:
        return ""
    rows = [
        [
            escape(one["quant"]),
            f"{escape(one['arms'][1])}<br>less {escape(one['arms'][0])}",
            *(
                _difference(one[key], scale, digits)
                for key, scale, digits in (("changed", 100, 1), ("kl", 1000, 2), ("moved", 1, 3))
            ),
        ]
        for one in found
    ]
    heads = [
        "Type",
        "Arms",
        "Winners changed, points",
        "Divergence at pairs' verdicts, millinats",
        "Scores moved, levels",
    ]
    return "\n".join(
        [
            "<h2>Importance matrices</h2>",
            words(rounding_words(report)),
            table(heads, rows, prose=(1,)),
        ]
    )


def _difference(found: Mapping[str, Any], scale: float, digits: int) -> str:
    if not found["n"]:
        return NONE
    value, low, high = (scale * number(found[key]) for key in ("value", "low", "high"))
    told = f"{signed(value, digits)} ({signed(low, digits)} to {signed(high, digits)})"
    return f"<b>{told}</b>" if direction(found) else told
