"""`edgecritic train` hands over to the modules that do the work."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from edgecritic.errors import CriticError
from edgecritic_train import cli


@pytest.mark.parametrize("command", ["train", "export"])
def test_the_entry_points_name_commands(command):
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    point = project["project"]["entry-points"]["edgecritic.commands"][command]
    module, _, name = point.partition(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: edgecritic train {command} ")


def test_the_commands_are_listed(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_place_in_the_documentation(command):
    pages = (Path(__file__).parents[3] / "docs").glob("*.md")
    assert any(f"train {command}" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("argv", [[], ["nothing"], ["hf"], ["features", "run"]])
def test_wrong_arguments_are_status_2(argv, capsys):
    assert cli.main(argv) == 2
    said = capsys.readouterr()
    assert "usage:" in (said.err if argv else said.out)  # whoever names nothing gets the help


def test_errors_go_to_whoever_called(tmp_path):
    asked = ["hf", str(tmp_path), "--language-model", str(tmp_path / "lm.gguf")]
    with pytest.raises(CriticError, match="does not state the critic's shapes"):
        cli.main([*asked, "--out", str(tmp_path / "out")])
