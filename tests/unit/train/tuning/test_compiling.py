"""`optimizer.compile`: the same losses, from blocks that torch has compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.dpo import train_dpo
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.sft import train_sft
from tiny_tuning import Configure

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # The tracer looks at every tensor's gradient, and expects to be warned.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
PAIRS = ("optimizer.batch=1", "optimizer.accumulation=2")


@pytest.fixture(autouse=True)
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Traced and differentiated as always, and run by torch: C++ compilers take minutes."""
    whole = torch.nn.Module.compile

    def traced(module: torch.nn.Module) -> None:
        whole(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _quiet(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    ("train", "settings"),
    [
        (train_sft, ("optimizer.gradient_checkpointing=false", "adapter.vision_tower=full")),
        (train_sft, ("optimizer.gradient_checkpointing=true", "data.share=true")),
        # The reference is another adapter of the same blocks.
        (train_dpo, ("optimizer.gradient_checkpointing=true", *PAIRS)),
    ],
)
def test_compiled_blocks_learn_the_same(
    configure: Configure,
    tmp_path: Path,
    train: Callable[[TuningConfig, Callable[[str], None]], Path],
    settings: tuple[str, ...],
) -> None:
    plain = configure("llava_onevision", *settings, "optimizer.learning_rate=1e-2")
    train(plain, _quiet)
    assert not counters["stats"]
    compiled = replace(
        plain, output=tmp_path / "compiled", optimizer=replace(plain.optimizer, compile=True)
    )
    train(compiled, _quiet)
    assert counters["stats"]["unique_graphs"] >= 3  # attention, perceptron, norms
    assert not counters["recompile_limit"]
    lines = [read_metrics(config.output) for config in (plain, compiled)]
    for one, other in zip(*lines, strict=True):
        assert other.get("loss") == pytest.approx(one.get("loss"), abs=1e-4)
        assert other.get("eval_loss") == pytest.approx(one.get("eval_loss"), abs=1e-4)
