"""How cost grows, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecritic_bench.plots import BLUE, GREY, INK, ORANGE, bare, figure_of
from edgecritic_bench.speed.figures import grown
from edgecritic_bench.speed.rows import Row, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI: Final = 150
_COLOURS: Final = {"edgecritic": BLUE, "edgecritic-onnx": ORANGE}
_NAMES: Final = {"edgecritic": "llama.cpp", "edgecritic-onnx": "ONNX Runtime"}


def plot_growth(rows: Rows, engines: Sequence[str], path: Path) -> bool:
    """Seconds over responses, image tokens and tokens of text.

    Returns:
        Whether there was anything to draw.
    """
    if not any(len(grown(rows, "responses", engine)) > 1 for engine in engines):
        return False
    panels = [
        ("responses", "responses about one new picture", "responses"),
        ("tiles", "one verdict on a new picture", "tokens of the picture"),
        ("text", "one verdict without a picture", "tokens of the prompt"),
    ]
    # A critic whose pictures are all of one size has nothing to show here.
    panels = [p for p in panels if any(len(grown(rows, p[0], e)) > 1 for e in engines)]
    figure = figure_of(3.6 * len(panels), 3.6)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (kind, title, label) in zip(grid, panels, strict=True):
        for engine in engines:
            if kind == "responses":
                _responses(axes, grown(rows, kind, engine), engine)
            else:
                x = "image_tokens" if kind == "tiles" else "prompt"
                _line(axes, grown(rows, kind, engine), x, engine)
        axes.set_title(title, fontsize=10, loc="left", color=INK)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GREY, alpha=0.35, linewidth=0.6)
        bare(axes)
    grid[0].set_ylabel("seconds")
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    return True


def _responses(axes: Axes, found: Sequence[tuple[int, Row]], engine: str) -> None:
    colour, name = _COLOURS[engine], _NAMES[engine]
    axes.plot(
        [value for value, _ in found],
        [row["scores"] for _, row in found],
        "o-",
        color=colour,
        markersize=4,
        label=f"K scores, {name}",
    )
    paired = [(value, row["pairs"]) for value, row in found if "pairs" in row]
    axes.plot(
        [value for value, _ in paired],
        [seconds for _, seconds in paired],
        "s--",
        color=colour,
        markersize=4,
        mfc="white",
        label=f"K(K-1) pairs, {name}",
    )


def _line(axes: Axes, found: Sequence[tuple[int, Row]], x: str, engine: str) -> None:
    axes.plot(
        [row[x] for _, row in found],
        [row["seconds"] for _, row in found],
        "o-",
        color=_COLOURS[engine],
        markersize=4,
    )
