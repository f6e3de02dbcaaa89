"""Whether divergence predicts flips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.figures import Axes, Point
from edgecritic_bench.quantization.page.html import figure, table, words
from edgecritic_bench.quantization.words import (
    NONE,
    Report,
    arms_of,
    compared,
    decimals,
    name_of,
    number,
)


def divergence(report: Report) -> str:
    """Whether divergence predicts flips."""
    arms = [arm for arm in arms_of(report, "runtime", "quantized") if compared(arm, "pairs")]
    if not arms:
        return ""
    drawn = [
        Point(
            name_of(arm),
            arm["arm"]["backend"],
            1000 * number(compared(arm, "pairs")["kl"]["value"]),
            *(number(compared(arm, "pairs")["changed"][key]) for key in ("value", "low", "high")),
        )
        for arm in arms
    ]
    axes = Axes(
        "Divergence against flips",
        "KL divergence at the verdict, millinats",
        "pairs with another winner than the reference's",
        lambda x: f"{x:g}",
        lambda y: f"{100 * y:g}%",
        powers=True,
    )
    rows = [
        [
            escape(name_of(arm)),
            _millinats(compared(arm, "pairs").get("kl")),
            _millinats(compared(arm, "scores").get("kl")),
            decimals(1000 * number(arm["arm"]["token_kl"]), 2),
        ]
        for arm in report["arms"][1:]
    ]
    heads = [
        "Arm",
        "Verdicts of pairs, millinats",
        "Verdicts of scores, millinats",
        "Next tokens, from the export's verification",
    ]
    return "\n".join(
        [
            "<h2>Does divergence predict flips?</h2>",
            words(_prediction_words(report)),
            figure(figures.scatter(drawn, axes)),
            table(heads, rows),
        ]
    )


def _millinats(found: Mapping[str, Any] | None) -> str:
    if not found or not found["n"]:
        return NONE
    value, low, high = (1000 * number(found[key]) for key in ("value", "low", "high"))
    return f"{value:.2g} ({low:.2g} to {high:.2g})"


def _prediction_words(report: Report) -> str:
    found = report["prediction"]
    told = [
        f"{name} {number(found[key]):.2f}"
        for key, name in (("verdict_kl", "at the verdict"), ("token_kl", "of next tokens"))
        if math.isfinite(number(found[key]))
    ]
    if not told:
        return (
            f"{found['arms']} quantized arms are too few to say; here is what was measured. "
            "Divergence at the verdict stands beside that of all next tokens, where an export was "
            "verified."
        )
    return (
        f"Rank correlation of divergence with flips over {found['arms']} quantized arms: "
        f"{', '.join(told)}. So few arms show a tendency, no more."
    )
