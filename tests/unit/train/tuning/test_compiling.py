"""`optimizer.compile`: the same losses, from blocks that torch has compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.utils import counters

from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.dpo import train_dpo
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.sft import train_sft
from tiny_checkpoints import TEXT_SHAPE
from tiny_tuning import FAMILIES, Configure

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # The tracer looks at every tensor's gradient, and expects to be warned.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
PAIRS = ("optimizer.batch=1", "optimizer.accumulation=2")


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The shape of a batch's cells that each was compiled for.

    Traced and differentiated as always, and run by torch: C++ compilers take minutes.
    """
    whole = torch.nn.Module.compile
    found: list[Any] = []

    def traced(graph: Any, inputs: Any) -> Any:
        held = [node.meta.get("example_value") for node in graph.graph.nodes]
        found.extend([x.shape for x in held if getattr(x, "ndim", 0) == 3][:1])
        return aot_eager(graph, inputs)

    def compiled(module: torch.nn.Module, **options: Any) -> None:
        whole(module, backend=traced, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    torch._dynamo.reset()
    counters.clear()
    yield found
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
    assert counters["stats"]["unique_graphs"] >= 2  # of tower and decoder
    assert not counters["recompile_limit"]
    lines = [read_metrics(config.output) for config in (plain, compiled)]
    for one, other in zip(*lines, strict=True):
        assert other.get("loss") == pytest.approx(one.get("loss"), abs=1e-4)
        assert other.get("eval_loss") == pytest.approx(one.get("eval_loss"), abs=1e-4)


@pytest.mark.parametrize(
    ("family", "checkpointed", "n_parts"),
    [*((family, "true", 3) for family in FAMILIES), (FAMILIES[0], "false", 1)],
)
def test_graphs_of_a_decoder_are_for_any_number_of_sequences(
    configure: Configure, graphs: list[Any], family: str, checkpointed: str, n_parts: int
) -> None:
    """The last batch of a pass is smaller: for that one they would be compiled anew."""
    asked = ("optimizer.batch=4", "optimizer.accumulation=1", "optimizer.compile=true")
    settings = ("data.share=true", "optimizer.max_steps=1", "evaluation.every=100")
    checkpointing = f"optimizer.gradient_checkpointing={checkpointed}"
    train_sft(configure(family, *asked, *settings, checkpointing), _quiet)
    decoder = [shape for shape in graphs if shape[-1] == TEXT_SHAPE["hidden_size"]]
    assert len(decoder) >= n_parts  # attention, perceptron, norms; or a block
    for n_sequences, length, _ in decoder:
        assert isinstance(n_sequences, torch.SymInt)
        assert isinstance(length, torch.SymInt)
