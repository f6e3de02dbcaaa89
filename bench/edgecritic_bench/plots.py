"""The report's pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecritic import MissingExtraError
from edgecritic_bench.agreement import Agreement
from edgecritic_bench.report_tables import family_scores
from edgecritic_bench.statistics.intervals import Estimate
from edgecritic_bench.statistics.reliability import N_BINS, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#2a6fbb", "#d9822b", "#b8bec6", "#30363d"
COLOURS = {"T0": BLUE, "T1": ORANGE}
_DPI = 150
_FEW = 10
"""Bins of fewer rows are drawn hollow: their accuracy is mostly chance."""


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, drawn without a display.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            f"plots need matplotlib: {error}", "pip install 'edgecritic[bench]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Axes) -> None:
    """Take the frame off, and colour what is left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def plot_reliability(splits: Mapping[str, Agreement], path: Path) -> None:
    """Accuracy over confidence, before and after calibration; a row for each split."""
    figure = figure_of(8.4, 3.7 * len(splits))
    grid = figure.subplots(len(splits), 2, squeeze=False)
    for row, (split, found) in zip(grid, splits.items(), strict=True):
        for axes, title, (before, after) in zip(
            row,
            (f"{split}: winner of a pair", f"{split}: likeliest level"),
            (found.pair_reliability, found.level_reliability),
            strict=True,
        ):
            _reliability_panel(axes, before, after, COLOURS.get(split, BLUE))
            axes.set_title(title, fontsize=11, loc="left", color=INK)
        row[0].set_ylabel("share that is right")
    for axes in grid[-1]:
        axes.set_xlabel("probability that the critic gives it")
    grid[0][0].legend(loc="upper left", frameon=False, fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _reliability_panel(axes: Axes, before: Reliability, after: Reliability, colour: str) -> None:
    edges = np.linspace(0, 1, N_BINS + 1)
    total = max(1, int(after.count.sum()))
    heights = after.count / total * 0.3
    axes.bar(edges[:-1], heights, 1 / N_BINS, align="edge", color=GREY, alpha=0.45, linewidth=0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    seen = before.count >= _FEW
    axes.plot(
        before.confidence[seen],
        before.accuracy[seen],
        color=GREY,
        linewidth=1.4,
        label="temperature 1",
    )
    many = after.count >= _FEW
    axes.plot(after.confidence[many], after.accuracy[many], color=colour, linewidth=1.8)
    axes.plot(
        after.confidence[many],
        after.accuracy[many],
        "o",
        color=colour,
        markersize=5,
        label="calibrated",
    )
    few = (after.count > 0) & ~many
    axes.plot(after.confidence[few], after.accuracy[few], "o", mfc="white", mec=GREY, markersize=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_aspect("equal")
    bare(axes)


def plot_kinds(splits: Mapping[str, Mapping[str, Agreement]], path: Path) -> None:
    """Pairs without ties by question type, with intervals."""
    found = {
        split: {kind: part.estimates["pairs"] for kind, part in kinds.items()}
        for split, kinds in splits.items()
    }
    kinds = sorted(
        {kind for part in found.values() for kind, estimate in part.items() if estimate.n},
        key=lambda kind: max(
            (part[kind].value for part in found.values() if kind in part and part[kind].n),
        ),
    )
    figure = figure_of(7.2, 0.9 + 0.29 * max(3, len(kinds)))
    axes = figure.subplots()
    for number, (split, part) in enumerate(found.items()):
        shift = (number - (len(found) - 1) / 2) * -0.28
        _dots(axes, kinds, part, shift, split)
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axes.set_ylim(-0.7, len(kinds) - 0.3)
    axes.set_xlim(min(0.45, axes.get_xlim()[0]), 1.005)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("pairs decided by the picture that are judged right, 95% intervals")
    axes.grid(axis="y", color=GREY, alpha=0.35, linewidth=0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    bare(axes)
    figure.savefig(path, dpi=_DPI)


def _dots(
    axes: Axes, kinds: list[str], part: Mapping[str, Estimate], shift: float, split: str
) -> None:
    colour = COLOURS.get(split, BLUE)
    rows = [(k, part[kind]) for k, kind in enumerate(kinds) if kind in part and part[kind].n]
    y = [k + shift for k, _ in rows]
    axes.hlines(y, [e.low for _, e in rows], [e.high for _, e in rows], color=colour, linewidth=1.6)
    axes.plot([e.value for _, e in rows], y, "o", color=colour, markersize=5, label=split)


def plot_families(splits: Mapping[str, Agreement], temperature: float, path: Path) -> None:
    """Mean expected score by response family, beside its gold."""
    found = {split: family_scores(part, temperature) for split, part in splits.items()}
    golds = {name: gold for part in found.values() for name, (gold, _) in part.items()}
    names = sorted(golds, key=lambda name: golds[name])
    figure = figure_of(7.2, 1.0 + 0.33 * max(3, len(names)))
    axes = figure.subplots()
    axes.plot(
        [golds[name] for name in names],
        range(len(names)),
        "|",
        color=INK,
        markersize=15,
        mew=2,
        label="gold",
    )
    for number, (split, part) in enumerate(found.items()):
        shift = (number - (len(found) - 1) / 2) * -0.28
        estimates = {name: estimate for name, (_, estimate) in part.items()}
        _dots(axes, names, estimates, shift, split)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlim(0.8, 10.2)
    axes.set_xticks(range(1, 11))
    axes.set_xlabel("mean score, levels 1 to 10, 95% intervals")
    axes.grid(axis="y", color=GREY, alpha=0.35, linewidth=0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=9)
    bare(axes)
    figure.savefig(path, dpi=_DPI)
