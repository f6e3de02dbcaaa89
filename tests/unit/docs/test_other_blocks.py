"""Shell blocks name commands, options and files that exist; JavaScript, JSON and YAML parse."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from code_blocks import ROOT, Block, blocks, commands
from edgecritic.cli import main

LINES = [(block, line) for block in blocks("sh") for line in commands(block)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OTHERS = {
    *("cd", "export", "npm", "curl", "docker", "git", ".", "python3.12", "promptfoo", "npx"),
    *("accelerate", "pyinstaller", ".venv/bin/pre-commit", ".ci/run", "deepeval"),
}
"""Programs of others; whether they take what is asked of them is not looked at."""


class Parsed(BaseException):
    """The arguments of a command were taken; nothing of it is to be run."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse stops whatever command it was asked by, unless a group hands on to another."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(
        parser: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        found = parse(parser, args, namespace)
        if hasattr(found, "arguments"):
            return found
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


@pytest.mark.parametrize(("block", "line"), LINES, ids=lambda part: getattr(part, "place", part))
@pytest.mark.usefixtures("parse_only")
def test_commands_and_options_exist(block: Block, line: str) -> None:
    for part in re.split(r"\s(?:&&|\|\||\|)\s", line):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words:
            check(words, block.page.parent)


def check(words: list[str], folder: Path) -> None:
    program, *arguments = words
    if program == "edgecritic":
        with pytest.raises(Parsed):
            main([word for word in arguments if word != "&"])
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif program in ("pip", "python") and "install" in arguments:
        for extras in re.findall(r"(?:^\.|edgecritic)\[(.*?)\]", " ".join(arguments)):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    elif program.endswith("python") and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file() or arguments[0] == "run.py"  # VLMEvalKit's
    elif program.endswith("python"):
        assert importable(arguments[1], folder), arguments[1]
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), program
    elif program == "node":
        files = [word for word in arguments if word.endswith(".js")]
        assert all((folder / file).is_file() for file in files)
    else:
        assert program.removeprefix("UPDATE_GOLDEN=1 ") in OTHERS, f"{program} is not known"


def importable(name: str, folder: Path) -> bool:
    places = [folder, ROOT / "runtime", ROOT / "train", ROOT / "export", ROOT / "bench"]
    path = name.replace(".", "/")
    ours = any(
        (place / f"{path}{end}").is_file() for place in places for end in (".py", "/__main__.py")
    )
    return ours or name in ("venv", "pip", "pytest", "http.server")


@pytest.mark.parametrize("block", blocks("js"), ids=lambda block: block.place)
@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_javascript_parses(block: Block) -> None:
    command = ["node", "--check", "--input-type=module", "-"]
    done = subprocess.run(command, input=block.code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.place)
def test_json_parses(block: Block) -> None:
    """One value, or one on each line."""
    try:
        json.loads(block.code)
    except ValueError:
        for line in block.code.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.place)
def test_yaml_parses(block: Block) -> None:
    assert yaml.safe_load(block.code) is not None
