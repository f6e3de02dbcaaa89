"""`edgecritic train data` hands over to its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic_train import cli
from edgecritic_train.critic_data.cli import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert cli.main(["data", command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"edgecritic train data {command}" in said
    page = (Path(__file__).parents[4] / "docs/training-data.md").read_text()
    assert f"edgecritic train data {command} " in page


@pytest.mark.parametrize("argv", [[], ["nothing"], ["import"], ["import", "table"], ["build"]])
def test_wrong_arguments_are_status_2(argv, capsys):
    assert cli.main(["data", *argv]) == 2
    said = capsys.readouterr()
    assert "usage:" in (said.err if argv else said.out)  # whoever names nothing gets the help
