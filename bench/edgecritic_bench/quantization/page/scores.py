"""How scores shift, level by level and model by model."""

from __future__ import annotations

from html import escape

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.html import figure, table, words
from edgecritic_bench.quantization.words import (
    Report,
    compared,
    decimals,
    name_of,
    number,
)


def shifts(report: Report) -> str:
    """Matrices of levels."""
    drawn = [
        figures.matrix(found["matrix"], name_of(arm), "level given by the arm")
        for arm in report["arms"][1:]
        if (found := compared(arm, "scores"))
    ]
    if not drawn:
        return ""
    return "<h2>How scores shift</h2>" + figure(
        drawn,
        "Most likely levels: the reference's upwards, the arm's across. What lies off the "
        "diagonal moved. Shades are logarithmic.",
    )


def models(report: Report) -> str:
    """The article's two levels: distributions by response model, and their ranking."""
    arms = [arm for arm in report["arms"][1:] if arm["models"]]
    if not arms:
        return ""
    names = list(arms[0]["models"])
    rows = [
        [
            escape(name.replace("_", " ")),
            decimals(number(arms[0]["models"][name]["reference"]["value"]), 2),
            *(
                f"{decimals(number(found['critic']['value']), 2)} "
                f"<span class='small'>({decimals(number(found['distance']), 2)})</span>"
                for arm in arms
                if (found := arm["models"].get(name))
            ),
        ]
        for name in names
    ]
    taus = ["<b>rank tau</b>", "", *(decimals(number(arm["model_tau"])) for arm in arms)]
    heads = ["Response model", "Reference", *(name_of(arm) for arm in arms)]
    return "\n".join(
        [
            "<h2>Response models</h2>",
            words(
                "The two levels of the LLaVA-Critic article. Mean score of each response model, in "
                "brackets how far its scores would have to move to be distributed as the "
                "reference's; and Kendall's tau of the ranking of models by mean score. In data "
                "sets made for judging, a model is a way in which responses were made."
            ),
            table(heads, [*rows, taus]),
        ]
    )
