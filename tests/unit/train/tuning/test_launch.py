"""The same entry point in two processes, and the settings that ship for more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file

from edgecritic.errors import ArtifactError
from edgecritic_train import cli
from edgecritic_train.critic_data.writing import alone
from edgecritic_train.tuning.config import read_config
from edgecritic_train.tuning.dpo import train_dpo
from edgecritic_train.tuning.launch_config import launch_configs
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.sft import train_sft
from tiny_tuning import write_config

LAYERS = {"fsdp2": "Qwen2DecoderLayer", "fsdp2-qwen2_5_vl": "Qwen2_5_VLDecoderLayer"}


def trained_by_two(path: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[4]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    command += ["-m", "edgecritic_train.tuning.sft", str(path)]
    for change in changes:
        command += ["--set", change]
    parts = [str(root / part) for part in ("runtime", "train")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(parts),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_two_processes_learn_what_one_learns(
    bases: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    """A step of two processes with one row each is a step of one with two, in the same order."""
    path = write_config(tmp_path / "c.yaml", bases["llava_onevision"], rows, tmp_path / "two")
    few = ["optimizer.max_steps=3", "evaluation.every=3", "checkpoints.every=3"]
    done = trained_by_two(path, "optimizer.batch=1", *few)
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(tmp_path / "two" / "adapter") in done.stdout
    train_sft(read_config(path, [f"output={tmp_path}/one", *few]), lambda _: None)
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for mine, other in zip(two, one, strict=True):
        same = ("verdict_loss", "verdict_accuracy", "reason_loss")
        same += ("loss",) if mine["kind"] == "train" else ("agreement", "pairwise_accuracy")
        for key in same:
            assert mine[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6)
    weights = [
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("one", "two")
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-4, rtol=0)


def test_several_processes_do_not_wait_for_a_training(
    bases: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    """They would run into torch's limit of some minutes; what the first one writes is its own."""
    path = write_config(tmp_path / "c.yaml", bases["llava_onevision"], rows, tmp_path / "run")
    few = ("optimizer.max_steps=1", "evaluation.every=50")
    shutil.rmtree(train_sft(read_config(path, few), lambda _: None))
    with alone(tmp_path / "run", lambda _: None):
        (tmp_path / "run" / "checkpoint-9").mkdir()
        done = trained_by_two(path, *few)
        assert (tmp_path / "run" / "checkpoint-9").is_dir()
    assert done.returncode != 0
    assert f"another process trains in {tmp_path / 'run'}" in done.stderr
    assert "Traceback" not in done.stderr.partition("another process")[0]


def test_nodes_share_the_folder_of_a_run(
    bases: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node of its own folder would train to the end, and then save where nobody else does."""
    path = write_config(tmp_path / "c.yaml", bases["llava_onevision"], rows, tmp_path / "run")
    second = SimpleNamespace(main_process_first=nullcontext, is_main_process=False, num_processes=2)
    monkeypatch.setattr("accelerate.PartialState", lambda **_: second)
    with pytest.raises(ArtifactError, match=r"run holds no run\.json") as caught:
        train_sft(read_config(path), lambda _: None)
    assert "all nodes share" in caught.value.hint
    assert not (tmp_path / "run").exists()


SHARDED = {
    "sft": ((), ("data.share=true",), 1e-4),
    "qlora": (
        (),
        ("base.quantization=nf4", "base.dtype=bfloat16", "optimizer.gradient_checkpointing=true"),
        5e-3,
    ),
    "dpo": (("optimizer.accumulation=4", "optimizer.batch=1"), (), 1e-4),
}
"""Of one process alone, of both, and how far a loss may be off."""


@pytest.mark.parametrize(
    "name", ["sft", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qlora", "dpo"))]
)
def test_sharded_weights_learn_what_whole_ones_learn(
    wide_bases: dict[str, Path], rows: Path, tmp_path: Path, name: str
) -> None:
    """PyTorch's FSDP2 as its settings ship, with two processes on a CPU."""
    alone, both, tolerance = SHARDED[name]
    path = write_config(tmp_path / "c.yaml", wide_bases["llava_onevision"], rows, tmp_path / "two")
    few = ["optimizer.max_steps=2", "evaluation.every=2", "checkpoints.every=2", *both]
    stage = "dpo" if name == "dpo" else "sft"
    root = Path(__file__).parents[4]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    command += [str(root / "tests" / "sharded_on_cpu.py"), f"edgecritic_train.tuning.{stage}"]
    command += [str(path), *(w for text in ["optimizer.batch=1", *few] for w in ("--set", text))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(root / part) for part in ("runtime", "train")),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sharded: DTensor\n" in done.stderr
    learn = {"sft": train_sft, "dpo": train_dpo}[stage]
    learn(read_config(path, [f"output={tmp_path}/one", *few, *alone]), lambda _: None)
    one, two = (
        [line["loss"] for line in read_metrics(tmp_path / run) if line["kind"] == "train"]
        for run in ("one", "two")
    )
    assert two == pytest.approx(one, rel=tolerance)
    weights = [
        load_file(tmp_path / run / "adapter" / "adapter_model.safetensors")
        for run in ("one", "two")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][key].shape == value.shape for key, value in weights[1].items())


@pytest.mark.parametrize("name", launch_configs())
def test_accelerate_reads_what_ships(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    assert cli.main(["launch-config", name]) == 0
    config = load_config_from_file(capsys.readouterr().out.strip())
    assert config.mixed_precision == "bf16"
    if name in LAYERS:
        assert config.fsdp_config["fsdp_version"] == 2
        wrapped = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
        assert wrapped == LAYERS[name]
        modules = (
            transformers.models.qwen2.modeling_qwen2,
            transformers.models.qwen2_5_vl.modeling_qwen2_5_vl,
        )
        assert any(hasattr(module, wrapped) for module in modules)
    else:
        assert config.deepspeed_config["zero_stage"] == 3
