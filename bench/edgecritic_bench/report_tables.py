"""The tables of ``docs/embedded-critic.md``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgecritic_bench.agreement import Agreement
from edgecritic_bench.markdown import table
from edgecritic_bench.statistics.intervals import Estimate, mean
from edgecritic_bench.statistics.reliability import Reliability
from edgecritic_bench.tables import expected_levels
from edgecritic_bench.targets import Target

Style: TypeAlias = Literal["share", "number"]
NONE = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: a metric, its name for people, and how it is written."""

    metric: str
    text: str
    style: Style = "share"


PAIRWISE = (
    Line("pairs", "Pairs decided by the picture, without ties"),
    Line("sure_half", "- the half that the critic is surer of"),
    Line("twins", "- right on both pictures of a twin (never looking gives 0)"),
    Line("pairs_ties", "All pairs, with ties as a third answer"),
    Line("commonest", "- always the commonest answer would give"),
    Line("pairs_kappa", "- Cohen's kappa: agreement beyond chance", "number"),
    Line("covered_90", "- could be judged alone at 90% right"),
    Line("text_pairs", "Pairs decided by the texts, without ties"),
    Line("consistent", "Both orders name the same winner"),
    Line("first_shown", "P(shown first wins), ties aside (50 is no bias)"),
)
CONTROLS = (
    Line("blank", "Blank picture: pairs, without ties"),
    Line("swapped", "Twin's picture: pairs, without ties"),
    Line("right_beats_wrong", "Right picture beats wrong picture, same text"),
    Line("lead_right", "Mean abs. P(first) - P(second), right picture", "number"),
    Line("lead_blank", "- blank picture", "number"),
)
POINTWISE = (
    Line("spearman", "Spearman, score and gold", "number"),
    Line("spearman_blank", "- blank picture", "number"),
    Line("spearman_moved", "- right picture, responses that the picture decides", "number"),
    Line("pearson", "Pearson, score and gold", "number"),
    Line("level_kappa", "Quadratic kappa, likeliest level and gold", "number"),
    Line("mae", "Mean absolute error, levels", "number"),
    Line("mae_blank", "- blank picture", "number"),
    Line("exact", "Likeliest level is gold"),
    Line("within_1", "- or next to it"),
)
CALIBRATION = (
    Line("pair_ece_raw", "Pairs, temperature 1", "number"),
    Line("pair_ece", "Pairs, calibrated", "number"),
    Line("level_ece_raw", "Scores, temperature 1", "number"),
    Line("level_ece", "Scores, calibrated", "number"),
    Line("pair_brier", "Pairs, calibrated: Brier score, 0 to 2", "number"),
)


def written(found: Estimate, style: Style = "share") -> str:
    """An estimate with its interval; shares in percent."""
    if not found.n:
        return NONE
    if not math.isfinite(found.low):
        return f"{found.value:.3f}" if style == "number" else f"{100 * found.value:.1f}"
    if style == "number":
        return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    value, low, high = (100 * x for x in (found.value, found.low, found.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def split_table(lines: Sequence[Line], splits: Mapping[str, Agreement]) -> str:
    """Metrics down, splits across."""
    rows = [
        [
            line.text,
            *(written(found.estimates[line.metric], line.style) for found in splits.values()),
        ]
        for line in lines
    ]
    return table(["", *splits], rows)


def calibration_table(splits: Mapping[str, Agreement]) -> str:
    """Calibration errors, and what chance alone would show."""
    floors = [
        ["- chance alone would show", *(_floor(found[1]) for found in reliabilities)]
        for reliabilities in (
            [found.pair_reliability for found in splits.values()],
            [found.level_reliability for found in splits.values()],
        )
    ]
    lines = split_table(CALIBRATION, splits).split("\n")
    extra = table([], floors).split("\n")[2:]
    return "\n".join([*lines[:4], extra[0], *lines[4:6], extra[1], *lines[6:]])


def _floor(found: Reliability) -> str:
    return f"{found.floor:.3f}" if found.error.n else NONE


def size_table(splits: Mapping[str, Agreement]) -> str:
    """How much was judged."""
    rows = [
        [
            split,
            f"{len(np.unique(np.concatenate([found.pairs.item, found.scores.item]))):,}",
            f"{len(found.pairs):,}",
            f"{int(found.pairs.decided.sum()):,}",
            f"{len(found.scores):,}",
            f"{found.judged:,}",
            f"{found.unparsed:,}",
        ]
        for split, found in splits.items()
    ]
    heads = ["", "twin items", "pairs", "decided by the picture", "scores", "verdicts in all"]
    return table([*heads, "unreadable"], rows)


def kind_table(kinds: Mapping[str, Agreement]) -> str:
    """Question types, the best-judged first."""
    lines = (
        Line("pairs", "pairs, without ties"),
        Line("twins", "right on both twins"),
        Line("pairs_ties", "with ties"),
        Line("right_beats_wrong", "right beats wrong picture"),
        Line("mae", "error, levels", "number"),
    )
    ordered = sorted(kinds.items(), key=lambda entry: -_sortable(entry[1].estimates["pairs"]))
    rows = [
        [
            kind,
            str(found.estimates["pairs"].n_items),
            *(written(found.estimates[line.metric], line.style) for line in lines),
        ]
        for kind, found in ordered
    ]
    return table(["question type", "items", *(line.text for line in lines)], rows)


def _sortable(found: Estimate) -> float:
    return found.value if found.n else -1.0


def family_scores(found: Agreement, temperature: float) -> dict[str, tuple[float, Estimate]]:
    """Family to mean gold and mean expected score, the best first."""
    scores = found.scores
    expected = expected_levels(scores.log_probs, temperature)
    families = {}
    for family in np.unique(scores.family):
        rows = scores.family == family
        part = scores.where(rows)
        families[str(family)] = (float(part.gold.mean()), mean(expected[rows], part.clusters))
    return dict(sorted(families.items(), key=lambda entry: -entry[1][0]))


def family_table(splits: Mapping[str, Agreement], temperature: float) -> str:
    """What each family of responses is worth, and what it gets."""
    found = {split: family_scores(part, temperature) for split, part in splits.items()}
    golds = {name: gold for part in found.values() for name, (gold, _) in part.items()}
    rows = []
    for name, gold in sorted(golds.items(), key=lambda entry: -entry[1]):
        row = [name.replace("_", " "), f"{gold:.1f}"]
        for part in found.values():
            row.append(NONE)
            if name in part:
                estimate = part[name][1]
                row[-1] = f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"
        rows.append(row)
    return table(["family", "gold, mean", *found], rows)


def target_table(targets: Sequence[tuple[Target, Estimate]]) -> str:
    """Targets, measurements, and how they stand."""
    rows = [
        [
            f"{target.text} ({target.split})",
            target.wanted,
            written(found, "number" if target.metric.endswith("ece") else "share"),
            target.standing(found),
        ]
        for target, found in targets
    ]
    return table(["", "wanted", "measured", ""], rows)


def readme_table(splits: Mapping[str, Agreement], texts: Mapping[str, str]) -> str:
    """The short table for a README."""
    lines = (
        Line("pairs", "right in pairs"),
        Line("twins", "right on both twins"),
        Line("blank", "blank picture"),
        Line("right_beats_wrong", "right beats wrong picture"),
        Line("consistent", "both orders agree"),
        Line("spearman", "Spearman", "number"),
    )
    rows = [
        [texts.get(split, split), *(_short(found.estimates[line.metric], line) for line in lines)]
        for split, found in splits.items()
    ]
    return table(["", *(line.text for line in lines)], rows)


def _short(found: Estimate, line: Line) -> str:
    if not found.n:
        return NONE
    return f"{found.value:.2f}" if line.style == "number" else f"{found.value:.1%}"
