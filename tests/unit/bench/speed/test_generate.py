"""transformers reads the very prompt that the runtime reads, in every kind of weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from edgecritic_bench.speed.engines import Setup
from edgecritic_bench.speed.engines.generate import Generate
from edgecritic_bench.speed.engines.runtime import Runtime
from edgecritic_bench.speed.tasks import PAIRS, RESPONSES, default_picture, new_picture, unrelated
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.checkpoints.folder import Checkpoint
from tiny_checkpoints import write_llava_onevision


@pytest.fixture(scope="module")
def setup(tmp_path_factory) -> Setup:
    folder = tmp_path_factory.mktemp("generate")
    checkpoint = folder / "checkpoint"
    write_llava_onevision(checkpoint)
    facts = CriticFacts("tiny", "1", "random", "Apache-2.0")
    with Checkpoint.open(checkpoint) as opened:
        (bundle,) = export_gguf(opened, folder, facts, GgufOptions(quants=("F32",)))
    return Setup(str(bundle.folder), str(checkpoint), threads=1, answer_tokens=3)


def test_prompts_are_as_long_as_the_runtimes(setup):
    ours, theirs = Runtime(setup, "llamacpp"), Generate(setup, "auto")
    for size in ((28, 28), (60, 20), (50, 50)):
        picture = new_picture(default_picture(size), 1)
        ours.scores(picture, RESPONSES[:1])
        (said,) = theirs.scores(picture, RESPONSES[:1])
        assert theirs.tokens["prompt"] == ours.tokens["prompt"]
        assert 1 <= theirs.tokens["generated"] <= 3
        assert said is not None
    ours.critic.close()


@pytest.mark.parametrize("weights", ["bf16", "nf4"])
def test_weights_are_drawn_where_there_are_none(setup, tmp_path, weights):
    folder = tmp_path / "hf"
    shutil.copytree(
        Path(str(setup.checkpoint)), folder, ignore=shutil.ignore_patterns("*.safetensors")
    )
    engine = Generate(Setup(setup.folder, str(folder), threads=1, answer_tokens=2), weights)
    language = engine._model.model.language_model
    kinds = {type(module).__name__ for module in language.modules()}
    assert ("Linear4bit" in kinds) is (weights == "nf4")
    assert ("Linear" in kinds) is (weights == "bf16")
    assert engine._model.dtype is torch.bfloat16
    if weights == "nf4":
        return  # its CPU kernel wants rows of whole blocks, which the tiny model's are not
    base = default_picture((28, 28))
    assert len(engine.pairs(new_picture(base, 2), PAIRS[:2])) == 2
    assert len(engine.unrelated(unrelated(base, 1, 2))) == 2
