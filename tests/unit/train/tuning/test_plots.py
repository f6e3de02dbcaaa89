"""The plots of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from edgecritic_train.tuning.plots import plot, wants_logarithm


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([8.0, 0.4, 0.3, 0.2], True),
        ([0.7, 0.5, 0.3, 0.2], False),
        ([8.0, 0.4, 0.0, 0.2], False),  # no logarithm of it
        ([8.0, 0.4, -0.1, 0.2], False),
        ([0.4, 0.3, 0.0001, 0.2], False),  # one lucky step is no reason
    ],
)
def test_losses_that_fall_far_want_a_logarithm(values: list[float], expected: bool) -> None:
    assert wants_logarithm(values) is expected


@pytest.mark.parametrize(
    ("losses", "scale", "tick"),
    [((8.0, 0.5, 0.2, 0.05), "log", "0.5"), ((0.7, 0.6, 0.5, 0.4), "linear", "0.50")],
)
def test_the_losses_are_drawn_on_the_axis_that_they_want(
    losses: tuple[float, ...],
    scale: str,
    tick: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def noted(figure: Figure, *args: Any, **kwargs: Any) -> None:
        drawn.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", noted)
    lines = [
        {"step": step, "kind": "train", "loss": loss, "verdict_accuracy": 0.5}
        for step, loss in enumerate(losses)
    ]
    plot(tmp_path, lines, ("loss", "verdict_loss"))
    assert [figure.axes[0].get_yscale() for figure in drawn] == [scale, "linear"]
    shown = [line.get_label() for line in drawn[0].axes[0].get_lines()]
    assert shown == ["loss"]  # nothing was logged of the other
    ticks = [text.get_text() for text in drawn[0].axes[0].get_yticklabels()]
    assert tick in ticks
    for name in ("loss.png", "agreement.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert drawn[1].axes[0].get_ylim()[1] > 1  # shares that hardly differ look so


def test_what_a_policy_prefers_is_drawn_too(tmp_path: Path) -> None:
    logged = {"loss": 0.6, "rewards/accuracies": 0.5, "rewards/margins": 0.1}
    lines = [{"step": 1, "kind": kind, **logged} for kind in ("train", "evaluation")]
    plot(tmp_path, lines, ("loss", "rewards/margins"))
    assert (tmp_path / "agreement.png").read_bytes().startswith(b"\x89PNG")
