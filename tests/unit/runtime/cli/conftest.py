"""A command line whose critic plays a script."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from command_line import Ran
from edgecritic.cli import main
from edgecritic.critic import Critic
from scripted_critic import scripted_critic


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process; the critic is scripted."""

    def load(*_args: object, **_options: object) -> Critic:
        return scripted_critic()

    def command(*argv: str) -> Ran:
        status = main(argv)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    monkeypatch.setattr(Critic, "load", load)
    monkeypatch.setenv("COLUMNS", "80")
    return command


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A small picture."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return str(path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A suite that runs in the background ignores interrupts, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
