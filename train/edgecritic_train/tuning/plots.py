"""The plots of a run: losses, and what its verdicts on held-out rows are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

LOSS_PLOT: Final = "loss.png"
AGREEMENT_PLOT: Final = "agreement.png"
_FLAT: Final = 10.0
"""A tenth of an axis is too little for half of what it shows."""
_EDGE: Final = 0.03
_HELD_OUT: Final = "held-out "
_SHARES: Final[Mapping[str, str]] = {
    "verdict_accuracy": "verdict token",
    "answer_accuracy": "answer token",
    "rewards/accuracies": "chosen answer preferred",
}
_JUDGED: Final = (
    *("agreement", "pairwise_accuracy", "position_consistency"),
    *("pearson", "spearman"),
)
_Curve: TypeAlias = tuple[list[int], list[float]]


def plot(folder: Path, lines: Sequence[Mapping[str, Any]], losses: Sequence[str]) -> None:
    """Draw what was logged so far, where matplotlib is installed.

    Args:
        folder: of the run.
        lines: of its log.
        losses: metrics that the first plot shows.
    """
    train = [line for line in lines if line["kind"] == "train"]
    judged = [line for line in lines if line["kind"] == "evaluation"]
    curves = _both(train, judged, {name: name.replace("_", " ") for name in losses})
    values = [value for _, own in curves.values() for value in own]
    scale = "log" if wants_logarithm(values) else "linear"
    unit = "nats a pair" if "rewards/margins" in losses else "nats a token"
    _draw(folder / LOSS_PLOT, curves, unit, scale=scale)
    shares = _both(train, judged, _SHARES)
    shares |= {name.replace("_", " "): _curve(judged, name) for name in _JUDGED}
    lowest = min((value for _, own in shares.values() for value in own), default=0.0)
    limits = (min(0.0, lowest) - _EDGE, 1 + _EDGE)
    _draw(folder / AGREEMENT_PLOT, shares, "share, or correlation", limits)


def _both(
    train: Sequence[Mapping[str, Any]],
    judged: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
) -> dict[str, _Curve]:
    """Curves of metrics that are logged of learned rows and of held-out ones."""
    learned = {name: _curve(train, key) for key, name in names.items()}
    held_out = {f"{_HELD_OUT}{name}": _curve(judged, key) for key, name in names.items()}
    return learned | held_out


def wants_logarithm(values: Sequence[float]) -> bool:
    """Whether a linear axis would press most of some positive values onto its foot."""
    return bool(values) and min(values) > 0 and max(values) > _FLAT * median(values)


def _curve(lines: Sequence[Mapping[str, Any]], key: str) -> _Curve:
    found = [(line["step"], line[key]) for line in lines if math.isfinite(line.get(key, math.nan))]
    return [step for step, _ in found], [value for _, value in found]


def _draw(
    path: Path,
    curves: Mapping[str, _Curve],
    unit: str,
    limits: tuple[float, float] | None = None,
    scale: str = "linear",
) -> None:
    if find_spec("matplotlib") is None:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    curves = {name: curve for name, curve in curves.items() if curve[0]}
    if not curves:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel=unit, yscale=scale)
    axes.locator_params(axis="x", integer=True)
    colours: dict[str, str] = {}
    for name, (steps, values) in curves.items():
        few = len(steps) < 50
        # What is held out has the colour of what is learned, dashed.
        colour = colours.setdefault(name.removeprefix(_HELD_OUT), f"C{len(colours)}")
        line = "--" if name.startswith(_HELD_OUT) else "-"
        axes.plot(
            steps, values, line, color=colour, label=name, marker="o" if few else "", markersize=3
        )
    if limits is not None:
        axes.set_ylim(limits)
    if scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    part = path.with_name(f".{path.name}")
    figure.savefig(part, format="png", dpi=110)
    part.replace(path)
