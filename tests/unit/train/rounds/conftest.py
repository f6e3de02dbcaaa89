"""A tiny policy, and two rounds of it that nobody interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgecritic_train.rounds.config import RoundsConfig, read_rounds
from edgecritic_train.rounds.run import run_rounds
from tiny_policies import open_scripted, write_policy, write_questions, write_rounds_config

Configure = Callable[..., RoundsConfig]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    write_policy(folder)
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture
def configure(policy_folder: Path, table: Path, tmp_path: Path) -> Configure:
    """Settings of tiny rounds, with assignments on top."""

    def made(*assignments: str) -> RoundsConfig:
        path = write_rounds_config(tmp_path / "c.yaml", policy_folder, table, tmp_path / "run")
        return read_rounds(path, assignments)

    return made


@pytest.fixture(scope="session")
def finished(policy_folder: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two finished rounds."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_rounds_config(folder / "c.yaml", policy_folder, table, folder / "run")
    torch.set_num_threads(1)
    run_rounds(read_rounds(path), lambda _: None, open_scripted)
    return folder / "run"
