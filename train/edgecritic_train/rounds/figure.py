"""The rounds in one figure: rewards, filters, lengths, win rate; with references right answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from edgecritic_train.rounds.selecting import FILTERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Facts = Mapping[str, Any]
_DPI = 120


def draw_rounds(rounds: Sequence[Facts]) -> bytes:
    """Draw the reports of the rounds so far; the bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = any(facts["sampling"].get("right") is not None for facts in rounds)
    columns = 3 if known else 2
    figure = Figure(figsize=(6 * columns, 8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, columns)
    _rewards(grid[0][0], rounds)
    _filters(grid[0][1], rounds)
    _lengths(grid[1][0], rounds)
    _win_rate(grid[1][1], rounds)
    if known:
        _told_apart(grid[0][2], rounds)
        _right(grid[1][2], rounds)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def _rewards(axes: Axes, rounds: Sequence[Facts]) -> None:
    for facts in rounds:
        found = facts["judging"]["rewards"]
        total = max(1, sum(found["histogram"]))
        shares = [count / total for count in found["histogram"]]
        axes.stairs(shares, found["edges"], label=f"round {facts['round']}", linewidth=1.6)
    axes.set_xlabel("reward: wins minus losses")
    axes.set_ylabel("share of answers")
    axes.set_title("Rewards", loc="left")
    axes.legend(frameon=False)


def _filters(axes: Axes, rounds: Sequence[Facts]) -> None:
    numbers = [facts["round"] for facts in rounds]
    left = [0] * len(rounds)
    for name in ("pairs", *FILTERS):
        counts = [
            f["selection"]["pairs"] if name == "pairs" else f["selection"]["dropped"][name]
            for f in rounds
        ]
        if any(counts):
            axes.bar(numbers, counts, bottom=left, label=name, width=0.6)
        left = [below + count for below, count in zip(left, counts, strict=True)]
    axes.set_xticks(numbers)
    axes.set_xlabel("round")
    axes.set_ylabel("questions")
    flips = ", ".join(_percent(facts["judging"]["flip_rate"]) for facts in rounds)
    axes.set_title(f"Pairs and filters (flip rate {flips})", loc="left")
    axes.set_ylim(0, 1.2 * max(1, *left))  # room for the legend above the bars
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="upper left")


def _lengths(axes: Axes, rounds: Sequence[Facts]) -> None:
    curves = {
        "all answers": [facts["sampling"]["tokens"] for facts in rounds],
        "chosen": [facts["selection"]["chosen_tokens"] for facts in rounds],
        "rejected": [facts["selection"]["rejected_tokens"] for facts in rounds],
    }
    numbers = [facts["round"] for facts in rounds]
    for name, spreads in curves.items():
        axes.plot(numbers, [found.get("mean") for found in spreads], label=name, marker="o")
    axes.set_xticks(numbers)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("round")
    axes.set_ylabel("tokens, mean")
    axes.set_title("Length of answers", loc="left")
    axes.legend(frameon=False)


def _win_rate(axes: Axes, rounds: Sequence[Facts]) -> None:
    axes.axhline(0.5, color="#8a929c", linewidth=1)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("after round")
    axes.set_ylabel("win rate over the first policy")
    axes.set_title("Held-out questions", loc="left")
    for key, label in (("outside", "outside judge"), ("inside", "judge that is learned from")):
        judged = [f for f in rounds if f.get(key) and f[key]["win_rate"] is not None]
        if judged:
            _rates(
                axes, [(f["round"], f[key]) for f in judged], f"{label}: {judged[-1][key]['judge']}"
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _rates(axes: Axes, judged: Sequence[tuple[int, Facts]], label: str) -> None:
    numbers = [0, *(number for number, _ in judged)]
    rates = [0.5, *(facts["win_rate"] for _, facts in judged)]  # the first policy ties with itself
    intervals = [None, *(facts["interval"] for _, facts in judged)]
    bounds = [found or [rate, rate] for found, rate in zip(intervals, rates, strict=True)]
    below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)]
    above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
    axes.errorbar(numbers, rates, yerr=[below, above], marker="o", capsize=4, label=label)
    axes.set_xticks(numbers)


def _told_apart(axes: Axes, rounds: Sequence[Facts]) -> None:
    judged = [f for f in rounds if f["judging"].get("one_right")]
    numbers = [facts["round"] for facts in judged]
    right = [facts["judging"]["one_right"]["preferred"] for facts in judged]
    tied = [facts["judging"]["one_right"]["tied"] for facts in judged]
    wrong = [1 - one - other for one, other in zip(right, tied, strict=True)]
    left = [0.0] * len(judged)
    for label, shares in (("right one", right), ("tie", tied), ("wrong one", wrong)):
        axes.bar(numbers, shares, bottom=left, label=label, width=0.6)
        left = [below + share for below, share in zip(left, shares, strict=True)]
    axes.set_xticks(numbers)
    axes.set_xlabel("round")
    axes.set_ylabel("share of pairs with one right answer")
    axes.set_ylim(0, 1.2)
    axes.set_title("What the critic prefers", loc="left")
    if judged:
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")


def _right(axes: Axes, rounds: Sequence[Facts]) -> None:
    sampled = [(f["round"] - 1, f["sampling"]["right"]) for f in rounds]
    compared = [f for f in rounds if f.get("inside") and f["inside"].get("right") is not None]
    held_out = [(0, f["inside"]["first"]["right"]) for f in compared[:1]]
    held_out += [(f["round"], f["inside"]["right"]) for f in compared]
    for label, points in (("held-out questions, greedy", held_out), ("sampled", sampled)):
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o")
    axes.set_xticks(range(len(rounds) + 1))
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("after round")
    axes.set_ylabel("share of right answers")
    axes.set_title("Right answers", loc="left")
    axes.legend(frameon=False, fontsize=8)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
