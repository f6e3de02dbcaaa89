"""Flips against size, agreement against time, and where the drift comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgecritic_bench.quantization.page import figures
from edgecritic_bench.quantization.page.figures import Axes, Point
from edgecritic_bench.quantization.page.html import figure, table, tag, words
from edgecritic_bench.quantization.tables import metric
from edgecritic_bench.quantization.words import (
    NONE,
    Arm,
    Report,
    arms_of,
    claim_of,
    compared,
    drift,
    engines_of,
    estimate,
    name_of,
    number,
    percent,
)


def cost(report: Report) -> str:
    """Flips against size, agreement against time."""
    arms = arms_of(report, "runtime", "quantized")
    if not report["rows"]["pairs"] or not arms:
        return ""
    flips = [
        Point(
            name_of(arm),
            arm["arm"]["backend"],
            arm["cost"]["n_bytes"] / 1e6,
            *(number(compared(arm, "pairs")["changed"][key]) for key in ("value", "low", "high")),
        )
        for arm in arms
    ]
    agreement = [
        Point(
            name_of(arm),
            arm["arm"]["backend"],
            number(arm["cost"]["cpu"]),
            *(
                number((metric(arm, "pairs", "accuracy with ties") or {}).get(key))
                for key in ("value", "low", "high")
            ),
        )
        for arm in report["arms"]
    ]
    backends = list(dict.fromkeys(str(arm["arm"]["backend"]) for arm in report["arms"]))
    rows = [
        [
            escape(name_of(arm)),
            str(pairs["flips"]["lost"]),
            str(pairs["flips"]["won"]),
            f"{pairs['flips']['p_value']:.2g}",
            estimate(pairs["changed"]),
            estimate(pairs["kappa"], "number"),
        ]
        for arm in report["arms"][1:]
        if (pairs := compared(arm, "pairs"))
    ]
    heads = [
        "Arm",
        "Right to wrong",
        "Wrong to right",
        "McNemar, exact p",
        "Other winner, %",
        "Kappa with the reference",
    ]
    return "\n".join(
        [
            "<h2>Flips, size and time</h2>",
            words(
                "Equal accuracy can hide that many verdicts turned, some to the better and some to "
                "the worse. So flips are counted row by row against the reference."
            ),
            figure(figures.legend(backends)),
            figure(
                figures.scatter(
                    flips,
                    Axes(
                        "Flips against size",
                        "size of all files, MB",
                        "pairs with another winner than the reference's",
                        lambda x: f"{x:,.0f}",
                        lambda y: f"{100 * y:g}%",
                        powers=True,
                    ),
                ),
                "Flips against size. Bars are 95% intervals over items.",
            ),
            figure(
                figures.scatter(
                    agreement,
                    Axes(
                        "Agreement against time",
                        "processor seconds a judgement, all threads together",
                        "pairs judged as gold has it, ties included",
                        lambda x: f"{x:g}",
                        lambda y: f"{100 * y:.0f}%",
                        from_zero=False,
                    ),
                ),
                "Agreement with gold against processor time, as it was while arms shared the "
                "machine: read the order, not the seconds.",
            ),
            _devices(report),
            table(heads, rows),
            "<h3>What may be claimed</h3>",
            _claims(report),
        ]
    )


def _devices(report: Report) -> str:
    """A word of warning where arms ran on several devices."""
    engines = [engine for engine, _ in engines_of(report)]
    if len({engine.rpartition(" on ")[2] for engine in engines}) < 2:
        return ""
    return words(
        f"Arms ran on several devices: {'; '.join(engines)}. Processor time and memory are the "
        "host's, so compare them only where the device is the same.",
        "note",
    )


def _claims(report: Report) -> str:
    arms = report["arms"][1:]
    claims = [
        (name_of(arm), setting, claim)
        for arm in arms
        for setting in ("pairs", "scores")
        if (claim := claim_of(arm, setting))
    ]
    lines = []
    if len(arms) > figures.MANY:  # of many, only what is not as hoped takes a sentence each
        lines = [_equivalent(claims, setting) for setting in ("pairs", "scores")]
        claims = [found for found in claims if found[-1]["standing"] != "equivalent"]
    lines += [
        f"<b>{escape(name)}</b>, {setting}: {escape(claim['words'])}"
        for name, setting, claim in claims
    ]
    return tag("ul", "".join(tag("li", line) for line in lines if line), "claims")


def _equivalent(claims: Sequence[tuple[str, str, Mapping[str, Any]]], setting: str) -> str:
    """All arms that are equivalent on pairs, or on scores, with their intervals."""
    same = [
        (name, claim)
        for name, kind, claim in claims
        if kind == setting and claim["standing"] == "equivalent"
    ]
    if not same:
        return ""
    scale, digits, unit = (100, 1, "points") if setting == "pairs" else (1, 3, "levels")
    told = (
        f"{escape(name)} ({scale * claim['equivalence']['low']:+.{digits}f} to "
        f"{scale * claim['equivalence']['high']:+.{digits}f})"
        for name, claim in same
    )
    margin = f"{scale * same[0][1]['margin']:.{digits}f} {unit}"
    rows = same[0][1]["difference"]
    return (
        f"<b>Equivalent on {setting}</b> within {margin}, on {rows['n']:,} rows of "
        f"{rows['n_items']:,} items; in brackets 90% intervals: {', '.join(told)}."
    )


def drifts(report: Report) -> str:
    """Runtime, quantization and noise apart."""
    by_name = {name_of(arm): arm for arm in report["arms"]}
    arms = arms_of(report, "runtime", "quantized")
    if not report["rows"]["pairs"] or not arms:
        return ""
    rows = [(name_of(arm), _parts(drift(arm, by_name), arm, len(arms))) for arm in arms]
    moved = [
        [
            escape(name_of(arm)),
            estimate(compared(arm, "scores").get("moved"), "number"),
            estimate(compared(arm, "scores").get("shift"), "number"),
            estimate(compared(arm, "scores").get("same_level")),
        ]
        for arm in report["arms"][1:]
    ]
    return "\n".join(
        [
            "<h2>Where the drift comes from</h2>",
            words(
                "Noise: two runs of the reference. Runtime: the reference against the same weights "
                "in full precision in another runtime. Quantization: full precision against the "
                "quantized file in one runtime. The parts need not add up, since flips may cancel."
            ),
            figure(
                figures.bars(rows, figures.DRIFT_COLOURS, percent),
                "Share of pairs with another winner.",
            ),
            "<h3>Scores</h3>" if report["rows"]["scores"] else "",
            table(["Arm", "Mean distance, levels", "Mean shift, levels", "Same level, %"], moved)
            if report["rows"]["scores"]
            else "",
            _towers(report),
        ]
    )


def _parts(found: dict[str, float], arm: Arm, n_arms: int) -> dict[str, float]:
    """Of many arms, what all of a runtime share is drawn once, beside its full precision."""
    if n_arms <= figures.MANY:
        return found
    full = arm["arm"]["role"] == "runtime" and not arm["arm"]["base"]
    kinds = ("noise", "runtime") if full else ("quantization", "in all")
    return {kind: found[kind] for kind in kinds}


def _towers(report: Report) -> str:
    """Language model and vision tower varied apart, where bundles do so."""
    kinds = {
        (arm["arm"]["language_model"], arm["arm"]["tower"])
        for arm in arms_of(report, "runtime", "quantized")
    }
    if len({tower for _, tower in kinds}) < 2:
        return ""
    rows = [
        [
            escape(name_of(arm)),
            arm["arm"]["language_model"] or NONE,
            arm["arm"]["tower"] or NONE,
            estimate(compared(arm, "pairs").get("changed")),
        ]
        for arm in arms_of(report, "runtime", "quantized")
    ]
    heads = ["Arm", "Language model", "Vision tower", "Other winner, %"]
    return "<h3>Language model and vision tower</h3>" + table(heads, rows)
