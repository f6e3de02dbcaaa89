"""Whether divergence predicts flips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.figures import Axes, Point
from edgecritic_bench.quantization.page.html import figure, table, words
from edgecritic_bench.quantization.page.svg import Figure
from edgecritic_bench.quantization.sentences import prediction_words
from edgecritic_bench.quantization.words import (
    NONE,
    Arm,
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
    at_verdicts = _scatter(
        "KL divergence at the verdict, millinats",
        [(arm, number(compared(arm, "pairs")["kl"]["value"])) for arm in arms],
    )
    told = [(arm, number(arm["arm"]["token_kl"])) for arm in arms]
    of_tokens = _scatter("KL divergence of next tokens, millinats", told)
    verified = any(math.isfinite(kl) for _, kl in told)
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
            words(prediction_words(report)),
            figure(at_verdicts),
            figure(of_tokens) if verified else "",
            table(heads, rows),
        ]
    )


def _scatter(across: str, divergences: Sequence[tuple[Arm, float]]) -> Figure:
    points = [
        Point(
            name_of(arm),
            arm["arm"]["backend"],
            1000 * kl,
            *(number(compared(arm, "pairs")["changed"][key]) for key in ("value", "low", "high")),
        )
        for arm, kl in divergences
    ]
    axes = Axes(
        f"{across}, against flips",
        across,
        "pairs with another winner than the reference's",
        lambda x: f"{x:g}",
        lambda y: f"{100 * y:g}%",
        powers=True,
    )
    return figures.scatter(points, axes)


def _millinats(found: Mapping[str, Any] | None) -> str:
    if not found or not found["n"]:
        return NONE
    value, low, high = (1000 * number(found[key]) for key in ("value", "low", "high"))
    return f"{value:.2g} ({low:.2g} to {high:.2g})"
