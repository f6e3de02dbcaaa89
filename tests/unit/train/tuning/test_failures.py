"""A full disk and a full GPU are named as what they are, and nothing else is."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import sleep

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from edgecritic.errors import ArtifactError, BackendUnavailableError, ImageError
from edgecritic.locking import exclusive
from edgecritic_train.critic_data.rows import ImageFile, read_rows, write_rows
from edgecritic_train.critic_data.writing import LOCK
from edgecritic_train.tuning.failures import told_apart
from edgecritic_train.tuning.manifest import begin_run
from edgecritic_train.tuning.sft import launched, train_sft
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
        Exception("No space left on device (os error 28)"),
    ],
    ids=["open", "safetensors", "torch", "tokenizers"],
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
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(CriticTrainer, "compute_loss", full)
    with pytest.raises(BackendUnavailableError, match="does not fit the GPU: CUDA out") as caught:
        train_sft(configure("llava_onevision", "evaluation.every=50"), lambda _: None)
    assert "images.max_tokens" in caught.value.hint
    assert capsys.readouterr().err.endswith("\n")  # the line of progress does not wait for more


def test_a_full_memory_is_told_as_such(tmp_path: Path) -> None:
    said = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
    error = RuntimeError(f"{said}memory: you tried to allocate 9 bytes. Error code 12")
    refused = pytest.raises(BackendUnavailableError, match="you tried to allocate 9 bytes")
    with refused as caught, told_apart(tmp_path):
        raise error
    assert "adapter.rank" in caught.value.hint


def test_a_second_process_waits_for_the_first(configure: Configure) -> None:
    config = configure("llava_onevision", "optimizer.max_steps=1", "evaluation.every=50")
    train_sft(config, lambda _: None)
    said: list[str] = []
    second = Thread(target=train_sft, args=(config, said.append))
    with exclusive(config.output / LOCK):
        second.start()
        while second.is_alive() and "waiting for another process" not in said:
            sleep(0.05)
        assert second.is_alive()
    second.join()
    assert said[-1].endswith("is finished already")


def test_a_start_that_was_killed_is_started_again(configure: Configure) -> None:
    config = configure("llava_onevision")
    config.output.mkdir()
    for name in (".lock", "config.yaml", ".run.json.part"):  # as far as it had come
        (config.output / name).write_text("half")
    begin_run(config, {})
    assert (config.output / "run.json").is_file()
    (config.output / "run.json").unlink()
    (config.output / "thesis.odt").touch()
    with pytest.raises(ArtifactError, match=r"holds files, and no run\.json"):
        begin_run(config, {})


def test_a_run_without_a_checkpoint_may_be_removed_for_other_settings(
    configure: Configure,
) -> None:
    """As after a first step that wanted more memory than there was."""
    begin_run(configure("llava_onevision", "optimizer.batch=4"), {})
    config = configure("llava_onevision", "optimizer.batch=2")
    for name in ("tensorboard", "checkpoint-100"):
        with pytest.raises(ArtifactError, match="batch was 4, now it is 2") as error:
            begin_run(config, {})
        assert error.value.hint.endswith("or remove it: it holds no checkpoint")
        (config.output / name).mkdir()
    with pytest.raises(ArtifactError) as error:
        begin_run(config, {})
    assert "config.yaml" in error.value.hint


def test_two_starts_at_once_write_one_record(configure: Configure, tmp_path: Path) -> None:
    config = configure("llava_onevision")
    for number in range(5):
        run = replace(config, output=tmp_path / str(number))
        with ThreadPoolExecutor(2) as pool:
            for begun in [pool.submit(begin_run, run, {}) for _ in range(2)]:
                begun.result()
        assert {path.name for path in run.output.iterdir()} == {".lock", "config.yaml", "run.json"}


def test_a_folder_that_cannot_be_written_to_is_told(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="file/run cannot be written"):
        begin_run(configure("llava_onevision", f"output={tmp_path}/file/run"), {})
    config = configure("llava_onevision", "optimizer.max_steps=1", "evaluation.every=50")
    train_sft(config, lambda _: None)
    (config.output / LOCK).unlink()
    (config.output / LOCK).mkdir()
    with pytest.raises(ArtifactError, match="cannot be written"):
        train_sft(config, lambda _: None)


def test_a_picture_that_a_worker_cannot_decode_is_named_as_without_workers(
    configure: Configure, rows: Path, tmp_path: Path
) -> None:
    """Its header is whole, so nothing is found before it is decoded."""
    picture = tmp_path / "half.jpg"
    Image.effect_noise((200, 200), 90).save(picture)
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    found = [replace(row, images=(ImageFile(picture),)) for row in read_rows(rows)]
    write_rows(tmp_path / "rows.jsonl", found)
    changes = [f"data.train=[{tmp_path}/rows.jsonl]", "data.workers=1", "evaluation.every=50"]
    with pytest.raises(ImageError) as caught:
        train_sft(configure("llava_onevision", *changes, "evaluation.rows=1"), lambda _: None)
    assert "Traceback" not in str(caught.value)
    assert re.match(r".*/rows\.jsonl:\d+: row .*half\.jpg' \(JPEG\) cannot", caught.value.message)
    assert "fetch it again" in caught.value.hint


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_errors_of_a_launched_process_are_lines(tmp_path: Path, stage: str) -> None:
    """As `accelerate launch` starts it, without the command line that tells them elsewhere."""
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-m", f"edgecritic_train.tuning.{stage}", str(tmp_path / "nowhere.yaml")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(root / part) for part in ("runtime", "train")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("edgecritic: error: ")
    assert hint == "hint: give a YAML file"


def test_a_process_that_fails_alone_is_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full GPU, or a picture that one node lacks, is no error of the first process."""

    def command() -> int:
        raise ArtifactError("the disk is full", "free some space")

    monkeypatch.setenv("RANK", "3")
    assert launched(command) == 1
    said = capsys.readouterr().err
    assert said == "edgecritic: error in process 3: the disk is full\nhint: free some space\n"
