from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from edgecritic.errors import ArtifactError, MissingExtraError
from edgecritic_export.gguf.file import as_float, write_gguf


def test_tensors_and_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    tensor = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_gguf(path, "llama", {"a": 1, "b": "text", "c": (1.5, 2.5)}, {"t": tensor.T})
    reader = GGUFReader(path)
    assert reader.fields["a"].contents() == 1
    assert reader.fields["b"].contents() == "text"
    assert reader.fields["c"].contents() == [1.5, 2.5]
    np.testing.assert_array_equal(reader.tensors[0].data, tensor.T)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_gguf(tmp_path / name, "llama", {"a": 1}, {"t": np.ones(3, dtype=np.float32)})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "tensor",
    [np.array([1.0, np.nan], dtype=np.float32), np.array([np.inf], dtype=np.float32), np.ones(2)],
    ids=["nan", "infinity", "double"],
)
def test_nothing_is_left_when_a_tensor_is_unfit(tmp_path: Path, tensor: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="must be finite float32 or float16"):
        write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": tensor})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.gguf"
    path.write_bytes(b"old")
    monkeypatch.setattr(
        "gguf.GGUFWriter.write_tensors_to_file", lambda _: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        write_gguf(path, "llama", {}, {"t": np.ones(3, dtype=np.float32)})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_overflow_in_half_precision_is_found(tmp_path: Path) -> None:
    tensor = as_float(np.array([1e6], dtype=np.float32), "F16")
    with pytest.raises(ArtifactError, match="finite") as caught:
        write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": tensor})
    assert "F32" in caught.value.hint


def test_without_the_gguf_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError) as caught:
        write_gguf(tmp_path / "file.gguf", "llama", {}, {})
    assert "edgecritic[export]" in caught.value.hint
