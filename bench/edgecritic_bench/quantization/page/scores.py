"""How scores shift, level by level and model by model."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.html import figure, small, table, words
from edgecritic_bench.quantization.words import (
    NONE,
    Report,
    compared,
    decimals,
    name_of,
    number,
)


def shifts(report: Report) -> str:
    """Matrices of levels."""
    arms = [arm for arm in report["arms"][1:] if compared(arm, "scores")]
    if not arms:
        return ""
    told = (
        "Most likely levels: the reference's upwards, the arm's across. What lies off the diagonal "
        "moved. Shades are logarithmic."
    )
    if len(arms) > figures.MANY:
        moved = sorted(arms, key=lambda arm: compared(arm, "scores")["same_level"]["value"])
        told += f" Of {len(arms)} arms those {figures.DRAWN} that moved most; report.json has all."
        arms = [arm for arm in arms if arm in moved[: figures.DRAWN]]
    drawn = [
        figures.matrix(compared(arm, "scores")["matrix"], name_of(arm), "level given by the arm")
        for arm in arms
    ]
    return "<h2>How scores shift</h2>" + figure(drawn, told)


def models(report: Report) -> str:
    """The article's two levels: distributions by response model, and their ranking."""
    arms = [arm for arm in report["arms"][1:] if arm["models"]]
    if not arms:
        return ""
    names = list(arms[0]["models"])
    heads = ["Arm", *(name.replace("_", " ") for name in names), "Rank tau"]
    rows = [
        [
            escape(name_of(report["arms"][0])),
            *(decimals(number(arms[0]["models"][n]["reference"]["value"]), 2) for n in names),
            "",
        ],
        *(
            [
                escape(name_of(arm)),
                *(_mean_and_distance(arm["models"].get(name)) for name in names),
                decimals(number(arm["model_tau"])),
            ]
            for arm in arms
        ),
    ]
    return "\n".join(
        [
            "<h2>Response models</h2>",
            words(
                "The two levels of the LLaVA-Critic article. Mean score of each response model, in "
                "brackets how far its scores would have to move to be distributed as the "
                "reference's; and Kendall's tau of the ranking of models by mean score. In data "
                "sets made for judging, a model is a way in which responses were made."
            ),
            table(heads, rows),
        ]
    )


def _mean_and_distance(found: Mapping[str, Any] | None) -> str:
    if not found:
        return NONE
    far = small(f"({decimals(number(found['distance']), 2)})")
    return f"{decimals(number(found['critic']['value']), 2)} {far}"
