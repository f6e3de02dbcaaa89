from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from edgecritic.errors import ArtifactError, MissingExtraError
from edgecritic_export.checkpoints.tensors import Bits, narrowed
from edgecritic_export.gguf.file import FloatType, TensorSource, as_float, unfinished, write_gguf

RANDOM = np.random.default_rng(0).standard_normal((37, 65)).astype(np.float32)


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


@pytest.mark.parametrize("stored_as", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_every_float_type_is_written_as_every_other(
    tmp_path: Path, kind: FloatType, stored_as: FloatType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic_export.gguf.file._SLAB_VALUES", 100)  # several slabs
    bits = narrowed(kind, RANDOM)
    odd = TensorSource.of(np.ones(3, dtype=np.float32))  # what follows needs padding
    write_gguf(
        tmp_path / "file.gguf",
        "llama",
        {},
        {"odd": odd, "t": TensorSource(bits.shape, stored_as, lambda: (kind, bits))},
    )
    tensor = GGUFReader(tmp_path / "file.gguf").tensors[1]
    assert tensor.tensor_type.name == stored_as
    stored = np.asarray(dequantize(tensor.data, tensor.tensor_type))
    # The widest relative step: 2**-9 in BF16, 2**-12 in F16.
    np.testing.assert_allclose(stored, RANDOM, rtol=2**-7, atol=1e-6)
    if kind == stored_as == "F32":
        np.testing.assert_array_equal(stored, RANDOM)


def test_memory_holds_a_slab_and_no_second_tensor(tmp_path: Path) -> None:
    n_values, n_tensors = 1 << 22, 6

    def read() -> tuple[str, Bits]:
        return "F16", np.zeros(n_values, dtype=np.float16)

    sources = {str(i): TensorSource((n_values,), "BF16", read) for i in range(n_tensors)}
    tracemalloc.start()
    write_gguf(tmp_path / "file.gguf", "llama", {}, sources)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "file.gguf").stat().st_size > n_tensors * n_values * 2
    # One tensor in its own type, in float32, its rounding and the result: not six tensors.
    assert peak < n_values * (2 + 4 + 4 + 4 + 2 + 2) + (1 << 20)


@pytest.mark.parametrize(
    "tensor",
    [np.array([1.0, np.nan], dtype=np.float32), np.array([np.inf], dtype=np.float32), np.ones(2)],
    ids=["nan", "infinity", "double"],
)
def test_nothing_is_left_when_a_tensor_is_unfit(tmp_path: Path, tensor: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="tensor"):
        write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": tensor})
    assert list(tmp_path.iterdir()) == []


def test_sources_that_are_not_what_they_say(tmp_path: Path) -> None:
    short = TensorSource((4,), "F32", lambda: ("F32", np.ones(3, dtype=np.float32)))
    with pytest.raises(ArtifactError, match=r"tensor t for .* is \(3,\), not \(4,\)"):
        write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": short})
    counted = TensorSource((3,), "F32", lambda: ("I64", np.ones(3, dtype=np.int64)))
    with pytest.raises(ArtifactError, match="stored as I64") as caught:
        write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": counted})
    assert "full-precision" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "kept.gguf"
    path.write_bytes(b"old")

    def full() -> tuple[str, Bits]:
        raise OSError("full")

    tensors = {
        "written": np.ones(3, dtype=np.float32),
        "failing": TensorSource((3,), "F32", full),
    }
    with pytest.raises(OSError, match="full"):
        write_gguf(path, "llama", {}, tensors)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_file_is_seen_under_its_own_name_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with unfinished(path) as partial:
        partial.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_overflow_in_half_precision_is_found(tmp_path: Path) -> None:
    large = np.array([1e6], dtype=np.float32)
    for tensor in (as_float(large, "F16"), TensorSource.of(large, "F16")):
        with pytest.raises(ArtifactError, match=r"tensor t .* does not fit F16") as caught:
            write_gguf(tmp_path / "bad.gguf", "llama", {}, {"t": tensor})
        assert "BF16" in caught.value.hint
    write_gguf(tmp_path / "good.gguf", "llama", {}, {"t": TensorSource.of(large, "BF16")})


def test_without_the_gguf_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError) as caught:
        write_gguf(tmp_path / "file.gguf", "llama", {}, {})
    assert "edgecritic[export]" in caught.value.hint
