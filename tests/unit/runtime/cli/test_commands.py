"""Commands that other packages add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.cli import commands
from edgecritic.errors import InputError, MissingExtraError

Run = Callable[..., Ran]
seen: list[Sequence[str]] = []


def remember(argv: Sequence[str]) -> int:
    """A command of another package."""
    seen.append(list(argv))
    return 3


def refuse(argv: Sequence[str]) -> int:
    """A command that was given something wrong."""
    raise InputError(f"{argv[0]} is wrong", "give something right")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("train", f"{__name__}:remember", commands.GROUP),
        EntryPoint("bench", "no_such_package.cli:main", commands.GROUP),
        EntryPoint("broken", f"{__name__}:nothing", commands.GROUP),
        EntryPoint("refuse", f"{__name__}:refuse", commands.GROUP),
    ]
    monkeypatch.setattr(commands, "entry_points", lambda **_group: points)


@pytest.mark.usefixtures("added")
def test_an_added_command_gets_its_arguments_and_gives_the_status(run: Run) -> None:
    assert run("train", "--epochs", "1", "--help").status == 3
    assert seen.pop() == ["--epochs", "1", "--help"]


@pytest.mark.usefixtures("added")
def test_help_names_the_added_commands(run: Run) -> None:
    assert "Other packages add: bench, broken, refuse, train." in run("--help").out


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("bench", 1, "no_such_package"),
        ("broken", 1, "nothing"),
        ("refuse", 2, "-x is wrong"),
    ],
)
def test_an_added_command_that_fails_is_told_in_a_line(
    run: Run, name: str, status: int, said: str
) -> None:
    ran = run(name, "-x")
    assert ran.status == status
    assert said in ran.err
    assert "hint: " in ran.err
    assert "Traceback" not in ran.err


def test_the_project_s_own_parts_name_their_extra(tmp_path: Path) -> None:
    installed = tmp_path / "edgecritic-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecritic\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(
        "[edgecritic.commands]\nbench = no_such_package.cli:main\n"
    )
    (point,) = Distribution.at(installed).entry_points
    with pytest.raises(MissingExtraError) as caught:
        commands.run(point, [])
    assert "'edgecritic[bench]'" in caught.value.hint
