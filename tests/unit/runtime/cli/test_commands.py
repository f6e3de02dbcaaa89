"""Commands that other packages add."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
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


def train(argv: Sequence[str]) -> int:
    """A command whose heavy package is imported when it is needed."""
    import_module(argv[0])
    return 0


def write(argv: Sequence[str]) -> int:
    """A command that cannot write where it was told to."""
    Path(argv[0]).joinpath("page.md").write_text("")
    return 0


def stop(argv: Sequence[str]) -> int:
    """A command whose argparse stops it."""
    argparse.ArgumentParser().parse_args(argv)
    return 0


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("train", f"{__name__}:remember", commands.GROUP),
        EntryPoint("bench", "no_such_package.cli:main", commands.GROUP),
        EntryPoint("broken", f"{__name__}:nothing", commands.GROUP),
        EntryPoint("refuse", f"{__name__}:refuse", commands.GROUP),
        EntryPoint("lazy", f"{__name__}:train", commands.GROUP),
        EntryPoint("stop", f"{__name__}:stop", commands.GROUP),
        EntryPoint("write", f"{__name__}:write", commands.GROUP),
    ]
    monkeypatch.setattr(commands, "entry_points", lambda **_group: points)


@pytest.mark.usefixtures("added")
def test_an_added_command_gets_its_arguments_and_gives_the_status(run: Run) -> None:
    assert run("train", "--epochs", "1", "--help").status == 3
    assert seen.pop() == ["--epochs", "1", "--help"]


@pytest.mark.usefixtures("added")
def test_help_names_the_added_commands(run: Run) -> None:
    assert (
        "Other packages add: bench, broken, lazy, refuse, stop, train, write." in run("--help").out
    )


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("typed", "hint"),
    [("scroe", "did you mean score?"), ("trian", "did you mean train?"), ("?", "score, compare,")],
)
def test_a_command_that_is_none_is_told_with_what_there_is(run: Run, typed: str, hint: str) -> None:
    ran = run(typed, "--image", "a.png")
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no command {typed!r}" in ran.err
    assert hint in ran.err


@pytest.mark.parametrize(
    "typed",
    [
        ("rank", "--question", "q", "--response", "a", "--response", "b", "--no-rationale"),
        ("models", "list", "--no-rationale"),
    ],
)
def test_a_command_refuses_an_option_with_its_own_usage(run: Run, typed: tuple[str, ...]) -> None:
    ran = run(*typed)
    assert ran.status == 2
    assert f"usage: edgecritic {typed[0]}" in ran.err
    assert f"edgecritic {typed[0]}" in ran.err.splitlines()[-1]
    assert "unrecognized arguments: --no-rationale" in ran.err


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("bench", 1, "no_such_package"),
        ("broken", 1, "nothing"),
        ("refuse", 2, "-x is wrong"),
        ("write", 1, "No such file or directory"),
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


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(("asked", "status"), [("--help", 0), ("-x", 2)])
def test_argparse_stops_an_added_command(run: Run, asked: str, status: int) -> None:
    assert run("stop", asked).status == status


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


@pytest.mark.usefixtures("added")
def test_a_package_that_a_command_misses_later_is_named_as_well(run: Run) -> None:
    ran = run("lazy", "no_such_package")
    assert (ran.status, ran.out) == (1, "")
    assert "No module named 'no_such_package'" in ran.err
    assert "hint: install what it needs: pip install " in ran.err


@pytest.mark.usefixtures("added")
def test_a_module_of_our_own_that_is_missing_is_a_fault_of_ours(run: Run) -> None:
    with pytest.raises(ModuleNotFoundError):
        run("lazy", "edgecritic.no_such_module")


GROUP = {"keep": (__name__, "keep arguments"), "missing": ("no_such_package", "be missing")}


def main(argv: Sequence[str]) -> int:
    """A command of a group; this module plays its part."""
    if "--stop" in argv:
        raise SystemExit("as argparse does, with a text")
    return remember(argv)


def test_a_group_hands_over_to_the_module_of_a_command() -> None:
    assert commands.hand_over("edgecritic x", "Keeps.", GROUP, ["keep", "--help", "a"]) == 3
    assert seen.pop() == ["--help", "a"]
    with pytest.raises(ModuleNotFoundError):
        commands.hand_over("edgecritic x", "Keeps.", GROUP, ["missing"])


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--help"], 0, "  keep     keep arguments"),
        ([], 2, "usage: edgecritic x"),
        (["nothing"], 2, "invalid choice: 'nothing'"),
        (["keep", "--stop"], 2, ""),
    ],
)
def test_a_group_explains_itself(
    capsys: pytest.CaptureFixture[str], argv: list[str], status: int, said: str
) -> None:
    assert commands.hand_over("edgecritic x", "Keeps.", GROUP, argv) == status
    assert said in "".join(capsys.readouterr())
