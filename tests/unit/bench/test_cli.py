"""The command line: exit statuses, the entry point, errors as text."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from edgecritic import InputError
from edgecritic_bench import cli


def test_the_entry_point_names_the_command():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    module, _, name = project["project"]["entry-points"]["edgecritic.commands"]["bench"].partition(
        ":"
    )
    assert getattr(import_module(module), name) is cli.main


@pytest.mark.parametrize("command", ["judge", "calibrate", "report", "parity", "speed"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    assert f"edgecritic bench {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [["nothing"], ["judge"], ["speed", "--repeats", "0"], ["judge", "x", "--limit", "-1"]],
)
def test_wrong_arguments_are_status_2(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert "usage:" in capsys.readouterr().err


def test_errors_go_to_whoever_called_and_become_text_at_the_end(tmp_path, capsys):
    argv = ["calibrate", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out.json")]
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        cli.main(argv)
    assert cli.run(argv) == 2
    assert "hint:" in capsys.readouterr().err
    assert cli.run(["judge", "x", "--out", "y", "--bundle", str(tmp_path)]) == 1


def test_an_interrupt_is_status_130(monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert cli.run([]) == 130
