"""Tiny bases of every family, and rows whose verdicts a tiny model can learn by heart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import tiny_checkpoints
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.config import TuningConfig, read_config
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl
from tiny_tuning import FAMILIES, Configure, make_rows, write_config


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    write_llava_onevision(folder / "llava_onevision")
    write_qwen2_5_vl(folder / "qwen2_5_vl")
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="session")
def wide_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bases whose rows are whole blocks of 64: others bitsandbytes mixes up on a CPU."""
    folder = tmp_path_factory.mktemp("wide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_checkpoints.TEXT_SHAPE, "intermediate_size", 128)
        write_llava_onevision(folder / "llava_onevision")
        write_qwen2_5_vl(folder / "qwen2_5_vl")
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rows file: which response names the colour, and scores of one response."""
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "rows.jsonl", make_rows(folder))
    return folder / "rows.jsonl"


@pytest.fixture
def configure(bases: dict[str, Path], rows: Path, tmp_path: Path) -> Configure:
    """A configuration of a tiny run, with assignments on top."""

    def made(family: str = "llava_onevision", *assignments: str) -> TuningConfig:
        path = write_config(tmp_path / "config.yaml", bases[family], rows, tmp_path / "run")
        return read_config(path, assignments)

    return made


@pytest.fixture
def opened(configure: Configure) -> Callable[[str], Base]:
    return lambda family: open_base(configure(family))
