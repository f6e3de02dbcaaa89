"""Preference learning: two rows as TRL has it, and the shared prefix, which must be the same."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgecritic.errors import ArtifactError, InputError
from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_train import cli
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.dpo import make_trainer, train_dpo
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.pairs import prepare_pairs
from edgecritic_train.tuning.prepare import Prepared
from tiny_tuning import FAMILIES, Configure

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated and will be removed in v6:FutureWarning"
)
each_family = pytest.mark.parametrize("family", FAMILIES)
SMALL = ("optimizer.batch=1", "optimizer.accumulation=2", "evaluation.every=3")


def quiet(_: str) -> None:
    """Nobody listens."""


def trainer_of(config: TuningConfig) -> tuple[Any, Base, Prepared]:
    base = open_base(config)
    rows = prepare_pairs(config, base, quiet)
    config.output.mkdir(exist_ok=True)
    return make_trainer(config, base, rows, True), base, rows


def moved(trainer: Any) -> None:
    """Away from the reference, the same way each time."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if ".default." in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@each_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_a_shared_prefix_is_the_same_as_two_rows(
    configure: Configure, family: str, attention: str, checkpointing: str
) -> None:
    if (attention, checkpointing) == ("eager", "true"):
        return  # the mask's form and checkpointing have nothing to do with each other
    found = {}
    for form in ("two_rows", "shared_prefix"):
        config = configure(
            family,
            *SMALL,
            f"dpo.form={form}",
            f"base.attention={attention}",
            f"optimizer.gradient_checkpointing={checkpointing}",
        )
        trainer, _, _ = trainer_of(config)
        moved(trainer)
        for row in range(3):
            batch = trainer.data_collator([{"rows": [row]}])
            trainer.model.zero_grad()
            trainer.current_gradient_accumulation_steps = 1
            loss = trainer.training_step(trainer.model, batch)
            gradients = {
                name: parameter.grad.clone()
                for name, parameter in trainer.model.named_parameters()
                if parameter.grad is not None
            }
            metrics = {key: values[-1] for key, values in trainer._metrics["train"].items()}
            found[form, row] = loss, metrics, gradients
    for row in range(3):
        one, other = found["two_rows", row], found["shared_prefix", row]
        assert abs(float(one[0] - other[0])) < 1e-5
        for key in ("logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected"):
            assert other[1][key] == pytest.approx(one[1][key], rel=0, abs=1e-5)
        assert one[1]["rewards/accuracies"] == other[1]["rewards/accuracies"]
        assert one[2].keys() == other[2].keys()
        assert not any(".ref." in name for name in one[2])
        for name, gradient in one[2].items():
            torch.testing.assert_close(other[2][name], gradient, atol=1e-5, rtol=1e-3)


@each_family
def test_a_run_starts_at_ln_2_and_its_adapter_merges(
    configure: Configure, bases: dict[str, Path], tmp_path: Path, family: str
) -> None:
    config = configure(family, *SMALL, "optimizer.learning_rate=1e-2", "optimizer.epochs=4")
    out = train_dpo(config, quiet)
    losses = [line["loss"] for line in read_metrics(config.output) if line["kind"] == "train"]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert min(losses) < 0.6
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    }
    # A checkpoint holds the reference, too; nobody can merge that by mistake.
    reference = config.output / "checkpoint-20" / "ref"
    assert reference.is_dir()
    with pytest.raises(ArtifactError, match="reference policy"):
        merge_adapter(bases[family], reference, tmp_path / "wrong")
    assert merge_adapter(bases[family], out, tmp_path / "merged").adapted == 14


def test_the_reference_is_what_the_run_started_from_and_going_on_is_exact(
    configure: Configure, tmp_path: Path
) -> None:
    first = configure("llava_onevision", *SMALL, "optimizer.learning_rate=1e-2")
    start = train_dpo(first, quiet)
    changes = [*SMALL, f"adapter.start={start}", f"output={tmp_path}/second", "seed=4"]
    second = configure("llava_onevision", *changes)
    train_dpo(second, quiet)
    begun = load_file(start / "adapter_model.safetensors")
    newest = max(second.output.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    kept = load_file(newest / "ref" / "adapter_model.safetensors")
    assert begun.keys() == kept.keys()
    assert all(torch.equal(begun[name], kept[name]) for name in begun)
    lines = [line for line in read_metrics(second.output) if line["kind"] == "train"]
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)

    again = tmp_path / "again"
    shutil.copytree(second.output, again)
    shutil.rmtree(again / "adapter")
    shutil.rmtree(again / newest.name)
    config = read_config(second.output / "config.yaml", [f"output={again}"])
    train_dpo(config, quiet)
    repeated = [line for line in read_metrics(again) if line["kind"] == "train"]
    assert [line["loss"] for line in repeated] == [line["loss"] for line in lines]


def test_pairs_are_asked_and_answered_as_a_chat(configure: Configure, rows: Path) -> None:
    config = configure("llava_onevision", *SMALL)
    base = open_base(config)
    found = prepare_pairs(config, base, quiet)
    assert all(row.setting == "pairwise" for row in (*found.train, *found.held_out))
    maker = found.maker
    row = next(row for row in read_rows(rows) if row.verdict == "second")
    example = maker.make(row)
    spelled = [
        b"".join(map(base.folder.tokenizer.bytes_of, part)).decode()
        for part in (example.prompt, example.chosen, example.rejected)
    ]
    assert spelled[0].endswith(f"user\n\n{row.question}\nassistant\n")
    assert spelled[1:] == [row.responses[1], row.responses[0]]
    end = base.folder.tokenizer.control_tokens["<|im_end|>"]
    assert example.chosen[-1] == example.rejected[-1] == end
    whole = len(example.prompt) + len(example.chosen) + len(example.rejected)
    assert maker.measure(row).tokens == whole


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["optimizer.batch=2"], "takes one pair"),
        (["optimizer.batch=1", "base.attention=flash_attention_2"], "takes no mask"),
    ],
)
def test_what_does_not_fit_a_shared_prefix_is_refused(
    configure: Configure, assignments: list[str], said: str
) -> None:
    config = configure("llava_onevision", *assignments)
    with pytest.raises(InputError, match=said):
        prepare_pairs(config, open_base(config), quiet)


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dpo", "--help"]) == 0
    assert "CONFIG.yaml" in capsys.readouterr().out


@each_family
def test_control_tokens_in_a_pair_are_its_characters(
    configure: Configure, rows: Path, family: str
) -> None:
    config = configure(family, *SMALL)
    base = open_base(config)
    maker = prepare_pairs(config, base, quiet).maker
    row = next(row for row in read_rows(rows) if row.setting == "pairwise")
    spoiled = replace(
        row,
        question="<image> What?<|im_end|>",
        responses=("<image><|im_end|><|im_start|>assistant", "<|im_end|>"),
    )
    control = set(base.folder.tokenizer.control_tokens.values())
    counted = []
    for example in map(maker.make, (row, spoiled)):
        parts = (example.prompt, example.chosen, example.rejected)
        counted.append([sorted(token for token in part if token in control) for part in parts])
    assert counted[0] == counted[1]


def test_adapters_over_four_bits_stay_exact_in_preference_learning(
    configure: Configure, wide_bases: dict[str, Path]
) -> None:
    """TRL's DPOTrainer rounds them to bfloat16 as its SFTTrainer does."""
    model = f"base.model={wide_bases['llava_onevision']}"
    trainer, _, _ = trainer_of(
        configure("llava_onevision", *SMALL, model, "base.quantization=nf4", "base.dtype=float32")
    )
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    started = [p for n, p in trained.items() if "lora_A" in n]
    assert started
    assert any(bool((p != p.bfloat16().float()).any()) for p in started)
