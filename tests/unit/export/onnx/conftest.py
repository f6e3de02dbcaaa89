"""Tiny checkpoints and what transformers makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic_export.checkpoints.folder import Checkpoint
from onnx_reference import Reference
from tiny_checkpoints import write_llava_onevision


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "node: runs Node, if js/node_modules is installed")


@pytest.fixture(scope="session", params=["qwen2", "llama"])
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    """Qwen2 with a head of its own and biases; Llama with tied weights in bfloat16."""
    folder = tmp_path_factory.mktemp(f"checkpoint-{request.param}")
    llama = request.param == "llama"
    write_llava_onevision(
        folder, text=request.param, tied=llama, dtype="bfloat16" if llama else "float32", seed=5
    )
    torch.set_num_threads(1)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    with Checkpoint.open(folder) as checkpoint:
        yield Reference(checkpoint, model.eval())
