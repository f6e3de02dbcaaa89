"""The figure: where rows come from, what they decide, and how long they are."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from edgecritic.errors import MissingExtraError
from edgecritic.prompts import Setting
from edgecritic_train.critic_data.statistics.collect import PLACES, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Mapping[Setting, str] = {"pointwise": "#2a6fbb", "pairwise": "#d9822b"}
_GREY, _INK = "#8a929c", "#30363d"
_DPI = 150
_MOST_SOURCES = 14
_NAME_CHARACTERS = 26
_BINS = 30


def draw(statistics: Statistics) -> bytes:
    """Draw the figure; the bytes of a PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            f"the figure needs matplotlib: {error}", "pip install 'edgecritic[train]'"
        ) from error
    figure = Figure(figsize=(13.5, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    _panels(figure, statistics)
    file = BytesIO()
    with warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; the JSON file has it in full.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def _panels(figure: Figure, statistics: Statistics) -> None:
    grid = figure.subplots(2, 3)
    total, pictures = statistics.rows.total(), len(statistics.pictures)
    figure.suptitle(
        f"{total:,} judgements of {pictures:,} pictures", fontsize=13, color=_INK, x=0.01, ha="left"
    )
    _sources(grid[0][0], statistics)
    _winners(grid[0][1], statistics)
    _scores(grid[0][2], statistics)
    for axes, name, colour in zip(
        grid[1], ("question", "response", "reason"), (_GREY, _GREY, "#4a8f5b"), strict=True
    ):
        _lengths(axes, name, statistics.words[name], colour)


def _bare(axes: Axes, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.set_title(title, fontsize=11, loc="left", color=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)


def _sources(axes: Axes, statistics: Statistics) -> None:
    totals: Counter[str] = Counter()
    for (source, _), count in statistics.sources.items():
        totals[source] += count
    shown = [source for source, _ in totals.most_common(_MOST_SOURCES)]
    rest = len(totals) - len(shown)
    left = np.zeros(len(shown))
    for setting, colour in COLOURS.items():
        counts = np.array([statistics.sources[source, setting] for source in shown], float)
        axes.barh(range(len(shown)), counts, left=left, color=colour, label=setting, height=0.72)
        left += counts
    names = [
        name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
        for name in shown
    ]
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=9, loc="best")
    _bare(axes, "Sources" + (f" (and {rest} smaller ones)" if rest else ""))


def _winners(axes: Axes, statistics: Statistics) -> None:
    names = ("first", "second", "tie")
    counts = [statistics.winners[name] for name in names]
    bars = axes.bar(names, counts, color=COLOURS["pairwise"], width=0.62)
    total = max(1, sum(counts))
    axes.bar_label(bars, [f"{c:,}\n{c / total:.0%}" for c in counts], fontsize=9, color=_INK)
    axes.margins(y=0.18)
    axes.set_ylabel("rows")
    _whole_counts(axes)
    _bare(axes, f"Pairwise: winner ({statistics.rows['pairwise']:,} rows)")


def _scores(axes: Axes, statistics: Statistics) -> None:
    counts = [statistics.places[k] for k in range(PLACES)]
    axes.bar(
        np.arange(PLACES) / PLACES,
        counts,
        0.9 / PLACES,
        align="edge",
        color=COLOURS["pointwise"],
        linewidth=0,
    )
    scales = sorted(statistics.levels.items(), key=lambda item: -item[1].total())
    listed = ", ".join(scale for scale, _ in scales[:5]) + (" …" if len(scales) > 5 else "")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["lowest level", "middle", "highest"])
    axes.set_xlabel(f"place on the scale ({listed})" if scales else "place on the scale")
    axes.set_ylabel("rows")
    _whole_counts(axes)
    _bare(axes, f"Pointwise: score ({statistics.rows['pointwise']:,} rows)")


def _lengths(axes: Axes, name: str, counts: Counter[int], colour: str) -> None:
    lengths = np.array(sorted(counts) or [0])
    numbers = np.array([counts[int(length)] for length in lengths])
    longest = int(lengths[-1])
    # A long tail would squeeze the rest: what lies beyond the 99th percentile is the last bar.
    below = np.cumsum(numbers) / max(1, numbers.sum())
    end = max(1, int(lengths[np.searchsorted(below, 0.99)]) if counts else 1)
    step = max(1, -(-(end + 1) // _BINS))
    edges = np.arange(0, end + step + 1, step).tolist()
    axes.hist(
        np.minimum(lengths, end), edges, weights=numbers, color=colour, linewidth=0, rwidth=0.9
    )
    tail = f" (last bar: {end:,} to {longest:,})" if longest > end else ""
    axes.set_xlabel(f"words{tail}")
    axes.set_ylabel(f"{name}s")
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", integer=True)
    _whole_counts(axes)
    if not counts:
        _bare(axes, f"Length of a {name}: there are none")
        return
    mean = float((lengths * numbers).sum() / numbers.sum())
    _bare(axes, f"Length of a {name}: {mean:,.1f} words on average")


def _whole_counts(axes: Axes) -> None:
    axes.locator_params(axis="y", integer=True)  # there is no half of a row
    axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
