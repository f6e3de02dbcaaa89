"""A report as a CSV table and as a page of Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecritic_bench.markdown import table
from edgecritic_bench.quantization.disagreements import disagreement_lines
from edgecritic_bench.quantization.recommendation import megabytes
from edgecritic_bench.quantization.sentences import (
    NEARER,
    goal_words,
    left_words,
    prediction_words,
    refused_words,
    rounding_words,
    split_words,
)
from edgecritic_bench.quantization.words import (
    NONE,
    SHARES,
    STANDINGS,
    Report,
    claim_of,
    compared,
    drift,
    estimate,
    number,
    percent,
    seconds,
    signed,
)
from edgecritic_bench.robustness.outcome import ALL, MOST_FLIPS, MOST_UPLIFT
from edgecritic_bench.robustness.pictures import CONTROLS


def csv_table(report: Report) -> str:
    """One line for each arm and number: arm, setting, metric, value, low, high, n, items."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "setting", "metric", "value", "low", "high", "n", "n_items"])
    for arm in report["arms"]:
        name = arm["arm"]["name"]
        for key, value in arm["cost"].items():
            writer.writerow([name, "cost", key, _cell(value), "", "", "", ""])
        for setting, metric, found in _estimates(arm):
            cells = [_cell(found[key]) for key in ("value", "low", "high", "n", "n_items")]
            writer.writerow([name, setting, metric, *cells])
    return out.getvalue()


def _estimates(arm: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    found = [
        (setting, metric, estimated)
        for setting in ("pairs", "scores")
        for metric, estimated in ((arm[setting] or {}).get("metrics") or {}).items()
    ]
    for against in ("reference", "base"):
        for setting in ("pairs", "scores"):
            parts = compared(arm, setting, against)
            found += [
                (f"{setting} against {arm[against]['name']}", metric, value)
                for metric, value in parts.items()
                if isinstance(value, Mapping) and "n_items" in value
            ]
            if claim := parts.get("claim"):
                found.append(
                    (f"{setting} against {arm[against]['name']}", "difference", claim["difference"])
                )
    for family, outcome in arm["robustness"].items():
        found += [
            (f"robustness: {family}", metric, outcome[metric])
            for metric in ("flips", "lost", "uplift")
        ]
    return found


def _cell(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def markdown_page(report: Report) -> str:
    """The report in Markdown, without its figures and pictures."""
    arms, rows, made = report["arms"], report["rows"], report["made"]
    margin = 100 * report["margin"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"])
    lines = [
        "# Does agreement survive quantization?",
        "",
        f"**{report['recommendation']['words']}**",
        "",
        f"{rows['pairs']:,} pairs and {rows['scores']:,} scores, each judged by {len(arms)} arms; "
        f"{rows['judged']:,} of {rows['planned']:,} planned rows, manipulated ones included. "
        f"Margin: {margin:g} points. In brackets: 95% intervals over items.",
        *(("", left) if (left := left_words(report)) else ()),
        *(f"- {line}" for line in refused_words(report)),
        "",
        "## The arms",
        "",
        ladder_table(arms),
        "",
        "## What may be claimed",
        "",
        *claim_lines(arms),
        "",
        "## Where the drift comes from",
        "",
        "Share of pairs with another winner: between two runs of the reference; between runtimes "
        "in full precision; between full precision and the quantization in one runtime; in all.",
        "",
        drift_table(arms),
        "",
        *_answers(report),
        "## By gold",
        "",
        *(quality_table(arms, setting) for setting in ("pairs", "scores")),
        "",
        "## Manipulation",
        "",
        f"Goals: win-flips at most {MOST_FLIPS:.0%}, uplift at most {MOST_UPLIFT:g} levels.",
        "",
        *(f"- {line}" for line in goal_words(report)),
        "",
        robustness_table(arms),
        "",
        *disagreement_lines(report),
        "## How it was made",
        "",
        f"{made['machine']}; {made['system']}; {versions}; {made['date']}. `{made['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _answers(report: Report) -> Iterator[str]:
    """What suffers first, what predicts it, and what a matrix does."""
    if told := split_words(report):
        yield from ("## What suffers first", "", told, "")
    if report["prediction"]["arms"]:
        yield from ("## Does divergence predict flips?", "", prediction_words(report), "")
    if report["roundings"]:
        yield from ("## Importance matrices", "", rounding_words(report), "")
        yield from (rounding_table(report["roundings"]), "")


def rounding_table(roundings: Sequence[Mapping[str, Any]]) -> str:
    """Two roundings of a type: what the first-named arm changed less what the other did."""
    heads = ["arm", "less", "winners changed, %", "divergence, nats", "scores moved, levels"]
    rows = [
        [
            one["arms"][1],
            one["arms"][0],
            *(estimate(one[key], "share" if key == "changed" else "") for key in NEARER),
        ]
        for one in roundings
    ]
    return table(heads, rows)


def ladder_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """What each arm is, what it costs, and how it stands to the reference."""
    heads = ["arm", "files", "memory", "processor time", "accuracy", "winner changed", "lost / won"]
    rows = []
    for arm in arms:
        cost, pairs = arm["cost"], compared(arm, "pairs")
        flips = pairs.get("flips")
        rows.append(
            [
                arm["arm"]["name"],
                megabytes(cost["n_bytes"]),
                megabytes(cost["peak_bytes"]) if cost["peak_bytes"] else NONE,
                seconds(number(cost["cpu"])),
                estimate(metric(arm, "pairs", "accuracy with ties")),
                estimate(pairs.get("changed")),
                f"{flips['lost']} / {flips['won']}" if flips else NONE,
            ]
        )
    return table(heads, rows)


def metric(arm: Mapping[str, Any], setting: str, name: str) -> Mapping[str, Any] | None:
    """One of an arm's metrics by gold."""
    found: Mapping[str, Any] | None = ((arm[setting] or {}).get("metrics") or {}).get(name)
    return found


def claim_lines(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """What may be said of each arm, in words."""
    lines = []
    for arm in arms:
        for setting in ("pairs", "scores"):
            if claim := claim_of(arm, setting):
                standing = STANDINGS[claim["standing"]]
                words = f"{arm['arm']['name']}, {setting}: **{standing}**. {claim['words']}"
                lines.append(f"- {words}")
    return lines


def drift_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """Drift of each arm split by what made it."""
    by_name = {arm["arm"]["name"]: arm for arm in arms}
    rows = [
        [name, *(percent(value) for value in drift(arm, by_name).values())]
        for name, arm in by_name.items()
        if arm["arm"]["role"] in ("runtime", "quantized")
    ]
    return table(["arm", "noise", "runtime", "quantization", "in all"], rows)


def quality_table(arms: Sequence[Mapping[str, Any]], setting: str) -> str:
    """All metrics by gold, metrics down, arms across."""
    first = arms[0][setting]
    if not first:
        return ""
    rows = [
        [
            name,
            *(
                estimate(metric(arm, setting, name), "share" if name.startswith(SHARES) else "")
                for arm in arms
            ),
        ]
        for name in first["metrics"]
    ]
    rows.append(["unread", *(f"{(arm[setting] or {}).get('unread', 0)}" for arm in arms)])
    return table([setting, *(arm["arm"]["name"] for arm in arms)], rows) + "\n"


def robustness_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """Win-flips and uplift by family and arm; what misses a goal is marked."""
    families = [name for name in arms[0]["robustness"] if name != ALL]
    if not families:
        return "Nothing was manipulated in this run."
    rows = []
    for family in (*families, ALL):
        cells = []
        for arm in arms:
            outcome = arm["robustness"].get(family)
            cells.append(_outcome(family, outcome) if outcome else NONE)
        rows.append([family.replace("_", " "), *cells])
    return table(["win-flips, uplift", *(arm["arm"]["name"] for arm in arms)], rows)


def _outcome(family: str, outcome: Mapping[str, Any]) -> str:
    flips, uplift = (number(outcome[key]["value"]) for key in ("flips", "uplift"))
    missed = family not in CONTROLS and (flips > MOST_FLIPS or uplift > MOST_UPLIFT)
    told = f"{percent(flips)}, {signed(uplift, 2)}"
    return f"**{told}**" if missed else told
