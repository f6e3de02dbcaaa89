"""A full disk and a full GPU are named as what they are, and nothing else is."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from edgecritic.errors import ArtifactError, BackendUnavailableError
from edgecritic_train.tuning.failures import told_apart
from edgecritic_train.tuning.manifest import begin_run
from edgecritic_train.tuning.sft import train_sft
from edgecritic_train.tuning.trainer import CriticTrainer
from tiny_tuning import Configure

TORCH_SAYS = "[enforce fail at inline_container.cc:664] PytorchStreamWriter failed writing file"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError(TORCH_SAYS),
    ],
    ids=["open", "safetensors", "torch"],
)
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(ArtifactError, match="is full") as caught, told_apart(tmp_path):
        raise error
    assert "start the same command again" in caught.value.hint


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a shape"), ValueError("else")])
def test_other_failures_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, told_apart(tmp_path):
        raise error
    assert caught.value is error


def test_a_full_gpu_ends_a_run_with_what_helps(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(CriticTrainer, "compute_loss", full)
    with pytest.raises(BackendUnavailableError, match="does not fit the GPU: CUDA out") as caught:
        train_sft(configure("llava_onevision", "evaluation.every=50"), lambda _: None)
    assert "images.max_tokens" in caught.value.hint


def test_a_start_that_was_killed_is_started_again(configure: Configure) -> None:
    config = configure("llava_onevision")
    config.output.mkdir()
    for name in ("config.yaml", ".run.json.part"):  # as far as it had come
        (config.output / name).write_text("half")
    begin_run(config, {})
    assert (config.output / "run.json").is_file()
    (config.output / "run.json").unlink()
    (config.output / "thesis.odt").touch()
    with pytest.raises(ArtifactError, match=r"holds files, and no run\.json"):
        begin_run(config, {})
