"""The help texts are what the golden files say; ``UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.cli import commands

GOLDEN = Path(__file__).parents[3] / "golden" / "help"
COMMANDS = {
    "edgecritic": (),
    "score": ("score",),
    "compare": ("compare",),
    "rank": ("rank",),
    "batch": ("batch",),
    "demo": ("demo",),
    "serve": ("serve",),
    "inspect": ("inspect",),
    "models": ("models",),
    "models-pull": ("models", "pull"),
    "models-list": ("models", "list"),
    "models-verify": ("models", "verify"),
    "models-inspect": ("models", "inspect"),
    "models-estimate": ("models", "estimate"),
    "models-rm": ("models", "rm"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_what_the_golden_file_says(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(commands, "installed", dict)
    ran = run(*COMMANDS[name], "--help")
    assert ran.status == 0
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(ran.out, encoding="utf-8")
    assert ran.out == golden.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(COMMANDS)
