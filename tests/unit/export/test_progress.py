"""How much of a file is on the disk, whoever writes it."""

from __future__ import annotations

from pathlib import Path

from edgecritic.staging import bytes_written, temporary
from edgecritic_export.progress import SILENCE, writing
from told import Told


def test_a_file_counts_under_its_temporary_name_and_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model[1].onnx"
    assert bytes_written(path) == 0
    temporary(path).write_bytes(b"12345")
    temporary(path.with_name("model[1].onnx_data")).write_bytes(b"123")
    (tmp_path / "another-model[1].onnx").write_bytes(b"12")
    (tmp_path / "model[1]_q4.onnx").write_bytes(b"12")
    assert bytes_written(path) == 8
    temporary(path).rename(path)
    assert bytes_written(path) == 8


def test_a_step_knows_its_file_and_its_plan(tmp_path: Path) -> None:
    told = Told()
    with writing(told, tmp_path / "model.gguf", 100):
        (tmp_path / "model.gguf").write_bytes(b"123")
    assert told.steps == [("model.gguf", 100, 3)]
    with writing(SILENCE, tmp_path / "model.gguf", 100):
        SILENCE("nobody hears this")
