"""The first page: which quantization to use, what it costs, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.page.figures import interval_bar
from edgecritic_bench.quantization.page.html import table, tag, words
from edgecritic_bench.quantization.recommendation import megabytes
from edgecritic_bench.quantization.sentences import left_words
from edgecritic_bench.quantization.words import (
    NONE,
    STANDINGS,
    Report,
    claim_of,
    compared,
    number,
    percent,
    points,
    seconds,
)

_NONE_SHOWN = "None can be recommended yet"


def first_page(report: Report) -> str:
    """Title, answer, facts, and the ladder."""
    rows, arms = report["rows"], report["arms"]
    lead = (
        f"{len(arms)} ways to run one critic judged the same {rows['pairs']:,} pairs and "
        f"{rows['scores']:,} scores. An arm may be called equivalent to the reference if it is "
        f"shown to differ by less than {100 * report['margin']:g} points."
    )
    parts = [
        "<h1>Does agreement survive quantization?</h1>",
        words(lead, "lead"),
        _answer(report),
        _facts(report),
        _ladder(report),
    ]
    if left := left_words(report):
        parts.append(words(left, "note"))
    return tag("section", "\n".join(parts), "first")


def _answer(report: Report) -> str:
    answer = report["recommendation"]
    sentence = answer["words"].removeprefix(f"{answer['arm']}: ") if answer["arm"] else ""
    inner = (
        tag("div", "Which quantization to use", "what")
        + tag("div", escape(answer["arm"] or _NONE_SHOWN), "name")
        + words(sentence or answer["words"])
    )
    return tag("div", inner, "answer" if answer["arm"] else "answer none")


def _facts(report: Report) -> str:
    arms = {arm["arm"]["name"]: arm for arm in report["arms"]}
    reference = report["arms"][0]
    chosen = arms.get(report["recommendation"]["arm"])
    facts = []
    if chosen is not None:
        ratio = reference["cost"]["n_bytes"] / chosen["cost"]["n_bytes"]
        facts.append(
            (megabytes(chosen["cost"]["n_bytes"]), f"of files; the reference has {ratio:.1f} times")
        )
        pairs = compared(chosen, "pairs")
        if pairs:
            facts.append((percent(number(pairs["changed"]["value"])), "of winners change with it"))
    rerun = next((arm for arm in report["arms"] if arm["arm"]["role"] == "rerun"), None)
    if rerun and compared(rerun, "pairs"):
        noise = percent(number(compared(rerun, "pairs")["changed"]["value"]))
        facts.append((noise, "of winners change when the reference merely runs again"))
    claims = [claim for arm in report["arms"][2:] if (claim := claim_of(arm, "pairs"))]
    if claims:
        # Where next to nothing flips, even all flips one way would be too few to be noticed.
        seen = [d for claim in claims if math.isfinite(d := number(claim["detectable"]))]
        if seen:
            told = f"{100 * max(seen):.1f} points"
            facts.append((told, "of accuracy is what this sample would notice in any arm"))
    inner = "".join(
        tag("div", f"<b>{escape(value)}</b><span>{escape(text)}</span>", "fact")
        for value, text in facts
    )
    return tag("div", inner, "facts")


def _ladder(report: Report) -> str:
    margin, arms = report["margin"], report["arms"]
    setting = "pairs" if report["rows"]["pairs"] else "scores"
    scale = 1.0 if setting == "pairs" else 9.0
    ends = [
        abs(number(claim["equivalence"][end]))
        for arm in arms
        if (claim := claim_of(arm, setting))
        for end in ("low", "high")
    ]
    reach = min(max([2 * margin * scale, *ends]) * 1.08, 5 * margin * scale)
    rows = [_rung(arm, setting, margin * scale, reach) for arm in arms]
    chosen = [arm["arm"]["name"] == report["recommendation"]["arm"] for arm in arms]
    measured = "Accuracy" if setting == "pairs" else "Error, levels"
    heads = [
        "Arm",
        "Files",
        "Memory",
        "CPU a judgement",
        measured,
        "Winner changed" if setting == "pairs" else "Score moved",
        "Difference from the reference, 90% interval; green: the margin",
        "",
        "Standing",
    ]
    return table(heads, rows, chosen)


def _rung(arm: Mapping[str, Any], setting: str, margin: float, reach: float) -> list[str]:
    cost, claim, found = arm["cost"], claim_of(arm, setting), compared(arm, setting)
    name = "accuracy with ties" if setting == "pairs" else "MAE"
    quality = ((arm[setting] or {}).get("metrics") or {}).get(name) or {"value": math.nan}
    value = number(quality["value"])
    cells = [
        tag("b", escape(arm["arm"]["name"])),
        megabytes(cost["n_bytes"]),
        megabytes(cost["peak_bytes"]) if cost["peak_bytes"] else NONE,
        seconds(number(cost["cpu"])),
        percent(value) if setting == "pairs" else f"{value:.2f}",
    ]
    if not claim:
        return [*cells, NONE, "", "", "reference" if arm["arm"]["role"] == "reference" else NONE]
    tested, middle = claim["equivalence"], number(claim["difference"]["value"])
    low, high = number(tested["low"]), number(tested["high"])
    changed = found["changed"] if setting == "pairs" else found["moved"]
    told = percent(number(changed["value"])) if setting == "pairs" else f"{changed['value']:.2f}"
    written = points(middle) if setting == "pairs" else f"{middle:+.2f}"
    standing = claim["standing"]
    chip = f'<span class="standing {standing}">{STANDINGS[standing]}</span>'
    return [*cells, told, str(interval_bar(low, middle, high, margin, reach)), written, chip]
