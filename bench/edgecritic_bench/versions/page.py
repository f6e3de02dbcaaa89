"""A comparison of two versions as short Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edgecritic_bench.markdown import table
from edgecritic_bench.report_tables import NONE
from edgecritic_bench.robustness.outcome import ALL
from edgecritic_bench.statistics.intervals import RESAMPLES, Estimate
from edgecritic_bench.versions.change import Change, Changes, Comparison
from edgecritic_bench.versions.manipulation import FamilyChange, Manipulation

_Written = Callable[[float], str]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def versions_section(
    found: Comparison | None, manipulated: Manipulation | None, names: tuple[str, str]
) -> str:
    """A section with its own heading.

    Args:
        found: of records; None where there are none.
        manipulated: of attacks; None where there are none.
        names: of the first version and of the second.
    """
    parts = [
        f"## {names[1]} against {names[0]}",
        f"Both versions on the same rows: {names[0]}, then {names[1]}, then the difference with "
        f"its 95% interval ({RESAMPLES:,} bootstrap resamples of items, both versions together).",
    ]
    if found is not None:
        parts += _agreement(found)
    if manipulated is not None:
        parts += _manipulation(manipulated)
    return "\n\n".join(parts) + "\n"


def _agreement(found: Comparison) -> list[str]:
    told = []
    if found.unread:
        told.append(f"{found.unread:,} verdicts could not be read by both, and are left out.")
    if found.missing:
        told.append(f"{found.missing:,} records exist of one version only.")
    return [
        "Pairs that the picture decides, without ties, and texts that are right on both pictures "
        "of a twin, in percent. Flips are of the same pairs. McNemar's exact test takes rows for "
        "independent; the last column asks the same of items.",
        _pairs(found.splits, "split"),
        "Scores: Spearman's correlation with gold, and the mean absolute error in levels, of which "
        "less is better.",
        _scores(found.splits, "split"),
        *told,
        "By question type, all splits together. With so many intervals, one in twenty misses by "
        "chance; types of few items tell little, and where nothing changed there is no interval.",
        _kinds(found.kinds),
    ]


def _pairs(groups: Mapping[str, Changes], head: str) -> str:
    heads = [head, "items", "pairs", "right", "difference", "both twins", "difference"]
    return table(
        [*heads, "right to wrong", "wrong to right", "McNemar, p", "by items, p"],
        [
            [
                name,
                f"{found.pairs.difference.n_items:,}",
                f"{found.flips.n:,}",
                *_cells(found.pairs, _percent),
                *_cells(found.twins, _percent),
                str(found.flips.lost),
                str(found.flips.won),
                f"{found.flips.p_value:.2g}" if found.flips.n else NONE,
                f"{found.p_value:.2g}" if found.flips.n else NONE,
            ]
            for name, found in groups.items()
        ],
    )


def _scores(groups: Mapping[str, Changes], head: str) -> str:
    return table(
        [head, "scores", "Spearman", "difference", "error, levels", "difference"],
        [
            [
                name,
                f"{found.error.difference.n:,}",
                *_cells(found.spearman, _three),
                *_cells(found.error, _three),
            ]
            for name, found in groups.items()
        ],
    )


def _kinds(groups: Mapping[str, Changes]) -> str:
    """The greatest gains first."""
    ordered = sorted(groups.items(), key=lambda entry: -_rank(entry[1].pairs))
    heads = ["question type", "items", "right", "difference", "right to wrong", "wrong to right"]
    return table(
        [*heads, "error, levels", "difference"],
        [
            [
                name,
                f"{found.error.difference.n_items:,}",
                *_cells(found.pairs, _percent),
                str(found.flips.lost),
                str(found.flips.won),
                *_cells(found.error, _two),
            ]
            for name, found in ordered
        ],
    )


def _manipulation(found: Manipulation) -> list[str]:
    told = "Manipulated responses: win-flips in percent, and score uplift in levels. "
    left = f"{found.left_out:,} rows were not judged by both." if found.left_out else ""
    order = sorted(
        (name for name in found.families if name != ALL),
        key=lambda name: -_rank(found.families[name].flips, before=True),
    )
    return [
        told + left if left else told.rstrip(),
        table(
            ["family", "attacks", "win-flips", "difference", "uplift", "difference"],
            [_family(name, found.families[name]) for name in (*order, ALL)],
        ),
    ]


def _family(name: str, found: FamilyChange) -> list[str]:
    return [
        name.replace("_", " "),
        f"{found.attacks:,}",
        *_cells(found.flips, _percent),
        *_cells(found.uplift, _two),
    ]


def _rank(change: Change, *, before: bool = False) -> float:
    value = change.before if before else change.difference.value
    return value if math.isfinite(value) else -math.inf


def _cells(change: Change, written: _Written) -> tuple[str, str]:
    """Before and after; the difference with its interval."""
    values = [_unsigned_zero(v, written) for v in (change.before, change.after)]
    return " → ".join(values), _difference(change.difference, written)


def _unsigned_zero(value: float, written: _Written) -> str:
    if not math.isfinite(value):
        return NONE
    told = written(value)
    return told if float(told) else written(0.0)


def _difference(found: Estimate, written: _Written) -> str:
    if not found.n:
        return NONE
    value, low, high = (_signed(x, written) for x in (found.value, found.low, found.high))
    # Rows that are all alike give no interval but a point, which would claim certainty.
    sure = found.low == found.high or not math.isfinite(found.low)
    return value if sure else f"{value} ({low} to {high})"


def _signed(value: float, written: _Written) -> str:
    size = written(abs(value))
    return size if not float(size) else f"{'-' if value < 0 else '+'}{size}"
