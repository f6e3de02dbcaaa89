"""A tiny critic in torch: random weights around the tiny language model, its adapter not zero."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_train.embedded.config import (
    EmbeddedConfig,
    LoraShape,
    TowerShape,
    embedded_geometry,
)
from edgecritic_train.embedded.language_model import PieceTokenizer
from edgecritic_train.embedded.model import build, with_lora
from edgecritic_train.embedded.rows import RowMaker
from edgecritic_train.embedded.train import save_trained
from tiny_models import TinyModels

TINY = EmbeddedConfig(
    tower=TowerShape(width=32, layers=2, heads=2, mlp=48), lora=LoraShape(rank=4, alpha=8)
)


@pytest.fixture(scope="session")
def config() -> EmbeddedConfig:
    return TINY


@pytest.fixture(scope="session")
def geometry() -> ImageGeometry:
    return embedded_geometry()


@pytest.fixture(scope="session")
def maker(tiny_models: TinyModels) -> RowMaker:
    return RowMaker(PieceTokenizer.from_gguf(tiny_models.language_model), load_dialect(), TINY)


@pytest.fixture(scope="session")
def tiny_critic(tiny_models: TinyModels, geometry: ImageGeometry) -> Any:
    """The PEFT model, in float32, with weights as large as those of a trained one."""
    torch.manual_seed(11)
    torch.set_num_threads(1)
    model = with_lora(build(tiny_models.language_model, TINY.tower, geometry), TINY.lora)
    for name, parameter in model.named_parameters():
        trained = "lora_B" in name or "language_model" not in name
        if trained and name.endswith("weight") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture(scope="session")
def run(
    tiny_critic: Any, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that a training run of the tiny critic leaves; its weights are in float16."""
    folder = tmp_path_factory.mktemp("run")
    save_trained(tiny_critic, folder, TINY, tiny_models.language_model)
    assert json.loads((folder / "training.json").read_text())["config"] == asdict(TINY)
    return folder
