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
GROUPS = ("train", "export", "bench")
"""Commands of the other packages, groups of commands themselves."""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_what_the_golden_file_says(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(commands, "installed", dict)
    ran = run(*COMMANDS[name], "--help")
    assert ran.status == 0
    assert ran.out == golden(name, ran.out)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_without_a_command_explains_itself(run: Callable[..., Ran], name: str) -> None:
    asked, bare = run(name, "--help"), run(name)
    assert (asked.status, bare.status) == (0, 2)
    assert asked.out == bare.out == golden(name, asked.out)
    assert not bare.err


def golden(name: str, now: str) -> str:
    """What the golden file says, after it was written anew if that was asked for."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(now, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*COMMANDS, *GROUPS}
