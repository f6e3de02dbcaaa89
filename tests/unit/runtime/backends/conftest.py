"""One tiny checkpoint in the formats of all engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgecritic.backends.hf import HfBackend
from edgecritic.backends.onnx import OnnxBackend, OnnxFiles
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic_export.onnx.precision import Variant
from tiny_checkpoints import write_llava_onevision
from tiny_engines import (
    GEOMETRY,
    write_branching_bundle,
    write_gguf_bundle,
    write_hf_bundle,
    write_onnx_bundles,
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA-OneVision with a Qwen2 language model, float32."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_llava_onevision(folder)
    return folder


@pytest.fixture(scope="session")
def onnx_bundles(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Variant, Bundle]:
    """The same weights as ONNX files, in every precision."""
    folder = tmp_path_factory.mktemp("onnx")
    return write_onnx_bundles(checkpoint, folder, ("fp32", "fp16", "q8", "q4", "q4f16"))


@pytest.fixture(scope="session")
def branching_bundle(
    checkpoint: Path,
    onnx_bundles: dict[Variant, Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """The float32 variant with a decoder that computes several sequences at once."""
    folder = tmp_path_factory.mktemp("branching")
    return write_branching_bundle(checkpoint, onnx_bundles["fp32"], folder)


@pytest.fixture(scope="session")
def gguf_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same weights as GGUF files, F32."""
    return write_gguf_bundle(checkpoint, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="session")
def hf_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The checkpoint as a bundle."""
    return write_hf_bundle(checkpoint, tmp_path_factory.mktemp("hf") / "made")


@pytest.fixture(scope="session")
def onnx(onnx_bundles: dict[Variant, Bundle]) -> OnnxFiles:
    """The files of the float32 variant."""
    return OnnxFiles.of(onnx_bundles["fp32"])


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
def make_branching(branching_bundle: Bundle) -> Callable[[EngineOptions], OnnxBackend]:
    files = OnnxFiles.of(branching_bundle)
    return lambda options: OnnxBackend(files, geometry=GEOMETRY, options=options)


@pytest.fixture(scope="session")
def make_hf(checkpoint: Path, torch_threads: None) -> Callable[[EngineOptions], HfBackend]:
    return lambda options: HfBackend(checkpoint, geometry=GEOMETRY, options=options)
