"""Runs of the real entry point over tiny bases."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_train import cli
from edgecritic_train.tuning import logs, plots
from edgecritic_train.tuning.arguments import trainer_arguments
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.collate import CriticCollator
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.guard import DivergedError
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.prepare import Prepared, prepare_rows
from edgecritic_train.tuning.sft import make_trainer, train_sft
from tiny_tuning import FAMILIES, Configure, write_config

each_family = pytest.mark.parametrize("family", FAMILIES)
_CHANGING = ("runtime", "samples_per_second", "steps_per_second", "tokens_per_second")


def quiet(_: str) -> None:
    """Nobody listens."""


def logged(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The log without what the clock decides."""
    lines = [line for line in read_metrics(folder) if line["kind"] == kind]
    return [{k: v for k, v in line.items() if k not in _CHANGING} for line in lines]


def trainer_of(config: TuningConfig) -> tuple[Any, Base, Prepared]:
    base = open_base(config)
    rows = prepare_rows(config, base, quiet)
    config.output.mkdir(exist_ok=True)
    return make_trainer(config, base, rows, True), base, rows


@pytest.fixture(scope="module")
def finished(
    bases: dict[str, Path], rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A finished run of each family."""
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        path = write_config(folder / "config.yaml", bases[family], rows, folder / "run")
        train_sft(read_config(path), quiet)
        found[family] = folder / "run"
    return found


@each_family
def test_a_run_leaves_what_it_says(finished: dict[str, Path], family: str) -> None:
    run = finished[family]
    names = {path.name for path in run.iterdir()}
    assert names == {
        *("adapter", "best", "config.yaml", "run.json", "metrics.jsonl", "tensorboard"),
        *("loss.png", "agreement.png", "checkpoint-4", "checkpoint-5", ".lock"),
    }
    assert {path.name for path in (run / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    }
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["rows"] == 20
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0] or record["versions"]
    summary = json.loads((run / "adapter" / "training.json").read_text())
    assert summary["base"]["quantization"] == "none"
    assert summary["held_out"]["step"] == summary["step"]
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    for kind, key in (("train", "verdict_loss"), ("evaluation", "agreement")):
        wanted = [(line["step"], line[key]) for line in logged(run, kind)]
        shown = [(event.step, event.value) for event in board.Scalars(f"{kind}/{key}")]
        assert shown == [(step, pytest.approx(value)) for step, value in wanted]
    config = read_config(run / "config.yaml")
    assert config.output == run


@each_family
def test_losses_fall_and_are_told_apart(finished: dict[str, Path], family: str) -> None:
    train, judged = logged(finished[family]), logged(finished[family], "evaluation")
    assert [line["step"] for line in train] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in judged] == [0, 2, 4, 5]
    assert judged[-1]["loss"] < judged[0]["loss"]
    for line in train:
        assert {"verdict_loss", "reason_loss", "form_loss", "verdict_accuracy"} <= line.keys()
    keys = {"agreement", "pairwise_accuracy", "position_consistency", "pearson", "spearman"}
    assert keys <= judged[-1].keys()


@each_family
def test_the_adapter_merges_into_what_was_trained(
    finished: dict[str, Path], bases: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """`export merge` takes the folder as it is, and knows that the base was not in four bits."""
    from peft import PeftModel

    run = finished[family]
    merged = merge_adapter(bases[family], run / "adapter", tmp_path / "merged")
    assert merged.adapted == 14
    assert not merged.vanished
    model_class = getattr(
        transformers, open_base(read_config(run / "config.yaml")).family.model_class
    )
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        trained = PeftModel.from_pretrained(
            model_class.from_pretrained(bases[family]), run / "adapter"
        ).eval()
    tokens = torch.arange(5, 60)[None]
    with torch.no_grad():
        difference = (
            trained(input_ids=tokens).logits
            - model_class.from_pretrained(tmp_path / "merged").eval()(input_ids=tokens).logits
        )
    assert difference.abs().max() < 1e-4


def test_an_adapter_of_the_other_family_is_refused_though_it_fits(
    finished: dict[str, Path], bases: dict[str, Path], configure: Configure, tmp_path: Path
) -> None:
    """Both language models have the same shapes, as those of both families of 7B do."""
    adapter = finished["llava_onevision"] / "adapter"
    with pytest.raises(ArtifactError, match="of model type llava_onevision, and this one is of q"):
        train_sft(configure("qwen2_5_vl", f"adapter.start={adapter}"), quiet)
    with pytest.raises(ArtifactError, match="and this base is of 'qwen2_5_vl'"):
        merge_adapter(bases["qwen2_5_vl"], adapter, tmp_path / "merged")


def test_a_finished_run_is_not_run_again(finished: dict[str, Path]) -> None:
    told: list[str] = []
    run = finished["llava_onevision"]
    train_sft(read_config(run / "config.yaml"), told.append)
    assert "is finished already" in told[-1]
    with pytest.raises(ArtifactError, match=r"config\.adapter\.rank was 4, now it is 8"):
        train_sft(read_config(run / "config.yaml", ["adapter.rank=8"]), told.append)


def test_another_seed_gives_other_losses(finished: dict[str, Path], tmp_path: Path) -> None:
    """That the same seed gives the same losses, the killed run shows, in another process."""
    run = finished["llava_onevision"]
    changes = ["seed=1", "optimizer.max_steps=1", "evaluation.every=50"]
    train_sft(read_config(run / "config.yaml", [f"output={tmp_path}/other", *changes]), quiet)
    assert logged(tmp_path / "other")[0]["loss"] != logged(run)[0]["loss"]


def test_going_on_is_exact_and_passes_over_truncated_checkpoints(
    finished: dict[str, Path], tmp_path: Path
) -> None:
    """As after a kill during the second checkpoint: it is the newest, and it is not whole."""
    run, again = finished["llava_onevision"], tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "adapter")
    state = again / "checkpoint-5" / "optimizer.pt"
    state.write_bytes(state.read_bytes()[:1000])
    told: list[str] = []
    train_sft(read_config(run / "config.yaml", [f"output={again}"]), told.append)
    assert any("going on from" in line and "checkpoint-4" in line for line in told)
    assert logged(again) == logged(run)
    # The evaluation at step 4 is in the log already and is not made again.
    assert logged(again, "evaluation") == logged(run, "evaluation")
    assert_same_weights(again / "adapter", run / "adapter")


def test_going_on_draws_the_same_dropout_in_the_next_pass(
    configure: Configure, tmp_path: Path
) -> None:
    """A pass has five steps. Processes that prepare batches are seeded from torch's generator."""
    changes = ["adapter.dropout=0.2", "data.workers=1", "optimizer.max_steps=7"]
    saved = ["checkpoints.every=3", "checkpoints.keep=9", "evaluation.every=50"]
    run = configure("llava_onevision", *changes, *saved, "optimizer.epochs=2")
    train_sft(run, quiet)
    again = replace(run, output=tmp_path / "again")
    shutil.copytree(run.output, again.output)
    for later in ("adapter", "checkpoint-6", "checkpoint-7"):
        shutil.rmtree(again.output / later, ignore_errors=True)
    told: list[str] = []
    train_sft(again, told.append)
    assert any("checkpoint-3" in line for line in told)
    assert logged(again.output) == logged(run.output)
    assert_same_weights(again.output / "adapter", run.output / "adapter")


def assert_same_weights(one: Path, other: Path) -> None:
    first = load_file(one / "adapter_model.safetensors")
    second = load_file(other / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_killed_run_goes_on_to_the_same_end(
    finished: dict[str, Path], bases: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    path = write_config(tmp_path / "config.yaml", bases["llava_onevision"], rows, tmp_path / "run")
    root = Path(__file__).parents[4]
    parts = [str(root / part) for part in ("runtime", "train")]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecritic_train.tuning.sft", str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(parts)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "checkpoint-2" / "complete.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    train_sft(read_config(path), quiet)
    run = finished["llava_onevision"]
    assert logged(tmp_path / "run") == logged(run)
    assert_same_weights(tmp_path / "run" / "adapter", run / "adapter")


def test_nan_stops_and_the_batch_is_kept(configure: Configure) -> None:
    config = configure("llava_onevision", "optimizer.learning_rate=1e25", "evaluation.every=100")
    with pytest.raises(DivergedError) as caught:
        train_sft(config, quiet)
    kept = list((config.output / "diverged").glob("*.jsonl"))
    assert len(kept) == 1
    ids = [json.loads(line)["id"] for line in kept[0].read_text().splitlines()]
    assert ids
    assert ids[0] in str(caught.value)
    batch = torch.load(kept[0].with_suffix(".pt"), weights_only=True)
    assert len(batch[0]["input_ids"]) == 2
    # What was saved before is not spoiled.
    for folder in config.output.glob("checkpoint-*"):
        state = load_file(folder / "adapter_model.safetensors")
        assert all(bool(value.isfinite().all()) for value in state.values())


def test_a_full_disk_is_named_before_a_checkpoint_is_begun(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ArtifactError, match=r"the disk has 0\.0 GB left"):
        train_sft(configure("llava_onevision"), quiet)


def test_it_stops_when_agreement_does_not_get_better(configure: Configure) -> None:
    config = configure(
        "llava_onevision",
        *("evaluation.every=1", "evaluation.patience=2", "optimizer.epochs=20"),
        "optimizer.learning_rate=1e-12",
    )
    said: list[str] = []
    train_sft(config, said.append)
    steps = [line["step"] for line in logged(config.output)]
    assert steps == [1, 2, 3]
    assert said[-1] == "ended at step 3 of 100: nothing was better in 2 evaluations"


@each_family
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_the_loss_is_the_weighted_mean_over_the_step(
    configure: Configure, family: str, checkpointing: str
) -> None:
    """Against plain cross-entropy of the whole logits, for any way to cut a step into batches."""
    config = configure(
        family,
        *("loss.verdict=3", "loss.form=0.25", "evaluation.every=50"),
        f"optimizer.gradient_checkpointing={checkpointing}",
    )
    with pytest.warns(FutureWarning, match="will be removed in v6"):
        trainer, base, _ = trainer_of(config)
    collator = trainer.data_collator
    assert isinstance(collator, CriticCollator)
    picked = [{"rows": [k]} for k in (0, 1, 5, 6)]
    whole = plain_loss(trainer.model, base, collator(picked))
    found, gradients = [], []
    for cut in ([picked], [picked[:1], picked[1:]]):
        batches = [collator(part) for part in cut]
        items = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
        trainer.model.zero_grad()
        trainer.current_gradient_accumulation_steps = len(batches)
        losses = [trainer.training_step(trainer.model, batch, items) for batch in batches]
        found.append(float(sum(losses)))
        gradients.append(
            [p.grad.clone() for n, p in trainer.model.named_parameters() if "lora_B" in n]
        )
    assert found[0] == pytest.approx(whole, rel=1e-5)
    assert found[1] == pytest.approx(whole, rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def plain_loss(model: Any, base: Base, batch: dict[str, Any]) -> float:
    tokens = batch["input_ids"]
    inputs = base.eye.inputs(batch["shown"].pictures, tokens, torch.float32)
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=batch["attention_mask"], **inputs).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
    )
    weights = batch["weights"][:, 1:]
    return float((losses * weights).sum() / weights.sum())


@each_family
def test_a_frozen_tower_is_not_computed_backwards(configure: Configure, family: str) -> None:
    config = configure(family, "optimizer.gradient_checkpointing=true")
    with pytest.warns(FutureWarning, match="will be removed in v6"):
        trainer, base, _ = trainer_of(config)
    seen: list[bool] = []
    tower = trainer.model.get_base_model().get_submodule(base.family.tower)
    for module in tower.modules():
        module.register_forward_hook(
            lambda _m, _i, out: seen.append(out.requires_grad if torch.is_tensor(out) else False)
        )
    trainer.training_step(trainer.model, trainer.data_collator([{"rows": [0]}, {"rows": [1]}]))
    assert seen
    assert not any(seen)
    adapters = [p for n, p in trainer.model.named_parameters() if "lora_B" in n]
    assert all(p.grad is not None and bool(p.grad.any()) for p in adapters)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, "float32") for family in FAMILIES), ("llava_onevision", "bfloat16")],
)
def test_adapters_over_four_bits_stay_exact_and_merge(
    configure: Configure, wide_bases: dict[str, Path], tmp_path: Path, family: str, dtype: str
) -> None:
    """TRL would round them to bfloat16, in which steps of 5e-7 are lost."""
    config = configure(
        family,
        *(f"base.model={wide_bases[family]}", f"base.dtype={dtype}"),
        *("base.quantization=nf4", "optimizer.learning_rate=5e-7", "evaluation.every=50"),
        *("optimizer.schedule=constant_with_warmup", "optimizer.warmup=0"),
    )
    torch.manual_seed(0)
    with pytest.warns(FutureWarning, match="will be removed in v6"):
        trainer, _, _ = trainer_of(config)
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    before = {n: p.detach().clone() for n, p in trained.items() if "lora_A" in n}
    if dtype == "float32":  # rounded by TRL, all of them would be their own rounding
        assert any((p != p.bfloat16().float()).any() for p in before.values())
    with torch.no_grad():  # at its start B is zero, and A has no gradient
        for name, parameter in trained.items():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    trainer.train()
    moved = [(trained[n] != p).float().mean() for n, p in before.items()]
    assert min(moved) > 0.9
    trainer.save_adapter(tmp_path / "adapter", {"base": {"quantization": "nf4"}})
    base = wide_bases[family]
    merge_adapter(base, tmp_path / "adapter", tmp_path / "known")
    merge_adapter(base, tmp_path / "adapter", tmp_path / "told", dequantise=True)
    known, told = (load_file(tmp_path / n / "model.safetensors") for n in ("known", "told"))
    assert all(torch.equal(known[name], told[name]) for name in known)
    model = trainer.model.eval()
    merged = type(model.get_base_model()).from_pretrained(tmp_path / "known").eval()
    tokens = torch.arange(5, 60)[None]
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(input_ids=tokens).logits.float()
        difference = (merged(input_ids=tokens).logits - logits).norm() / logits.norm()
    assert difference < (0.01 if dtype == "float32" else 0.05)


def test_the_command_prints_the_adapter(
    finished: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished["llava_onevision"]
    assert cli.main(["sft", str(run / "config.yaml")]) == 0
    assert capsys.readouterr().out == f"{run / 'adapter'}\n"


def test_nothing_is_cut_hidden_or_left_to_torchvision(
    finished: dict[str, Path], configure: Configure
) -> None:
    """Defaults of others that spoil a critic's training, and a package without a CPU build."""
    found = trainer_arguments(configure("llava_onevision"), judged=True, fresh=True)
    assert found["max_length"] is None  # 1024 would cut pictures and answers
    assert found["logging_nan_inf_filter"] is False
    assert finished  # both families were trained in this process
    assert "torchvision" not in sys.modules


def test_no_number_of_the_log_is_nan(finished: dict[str, Path]) -> None:
    for run in finished.values():
        for line in read_metrics(run):
            assert all(math.isfinite(v) for v in line.values() if isinstance(v, float))


def test_a_run_does_without_what_draws(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (logs, plots):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    config = configure("llava_onevision", "optimizer.max_steps=1", "evaluation.every=5")
    train_sft(config, quiet)
    assert [line["step"] for line in logged(config.output)] == [1]
    assert not (config.output / "tensorboard").exists()
    assert not (config.output / "loss.png").exists()
    assert "metrics are in metrics.jsonl alone" in caplog.text


def test_of_equal_adapters_the_last_is_the_best(configure: Configure) -> None:
    """The first step of a warmup learns nothing, and a short training may not agree more."""
    few = ("optimizer.max_steps=3", "evaluation.every=1", "optimizer.learning_rate=1e-30")
    config = configure("llava_onevision", *few)
    out = train_sft(config, quiet)
    judged = [line["agreement"] for line in logged(config.output, "evaluation")]
    assert len(set(judged)) == 1
    assert json.loads((out / "training.json").read_text())["held_out"]["step"] == 3
