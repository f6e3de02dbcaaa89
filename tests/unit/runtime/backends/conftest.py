"""One tiny checkpoint in the formats of several engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgecritic.backends.hf import HfBackend
from edgecritic.backends.onnx import OnnxBackend, OnnxFiles
from edgecritic.backends.options import EngineOptions
from tiny_checkpoints import write_llava_onevision
from tiny_engines import GEOMETRY, onnx_files
from tiny_onnx import write_onnx


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA-OneVision with a Qwen2 language model, float32."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_llava_onevision(folder)
    return folder


@pytest.fixture(scope="session")
def onnx(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxFiles:
    """The same weights as ONNX files, float32."""
    folder = tmp_path_factory.mktemp("onnx")
    write_onnx(checkpoint, folder)
    return onnx_files(folder)


@pytest.fixture(scope="session")
def torch_threads() -> Iterator[None]:
    """Leaves torch's threads, which an engine sets for the whole process, as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_onnx(onnx: OnnxFiles) -> Callable[[EngineOptions], OnnxBackend]:
    return lambda options: OnnxBackend(onnx, geometry=GEOMETRY, options=options)


@pytest.fixture(scope="session")
def make_hf(checkpoint: Path, torch_threads: None) -> Callable[[EngineOptions], HfBackend]:
    return lambda options: HfBackend(checkpoint, geometry=GEOMETRY, options=options)
