"""Safetensors files read and written here are those of the safetensors package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.shard_writer import INDEX, WEIGHTS, ShardWriter
from edgecritic_export.checkpoints.store import TensorInfo, TensorStore, narrowed, widened

TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "odd": torch.randn(3, 5).bfloat16(),
        "wide": torch.randn(2, 3, 4),
        "half": torch.randn(7).half(),
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(2.5),
        "ids": torch.arange(9),
        "bytes": torch.arange(11, dtype=torch.uint8),
    }


def write(folder: Path, state: dict[str, torch.Tensor], shard_bytes: int = 1 << 30) -> None:
    save_file(state, folder / "in.safetensors")
    with TensorStore.open(folder / "in.safetensors") as store:
        plan = {name: store.info(name) for name in store.names}
        with ShardWriter(folder, plan, shard_bytes=shard_bytes) as writer:
            for name in reversed(store.names):
                writer.write(name, *store.read_raw(name))
            writer.finish()
    (folder / "in.safetensors").unlink()


def test_tensors_are_read_as_safetensors_reads_them(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with TensorStore.open(tmp_path) as store:
        assert set(store.names) == set(state)
        for name, tensor in state.items():
            assert TYPES[store.dtype(name)] == tensor.dtype
            assert store.shape(name) == tuple(tensor.shape)
            if tensor.is_floating_point():
                np.testing.assert_array_equal(store.read(name), tensor.float().numpy())
        with pytest.raises(ArtifactError, match="quantised checkpoints"):
            store.read("ids")
        with pytest.raises(ArtifactError, match="no tensor lost"):
            store.read("lost")


@pytest.mark.parametrize("shard_bytes", [1, 60, 1 << 30])
def test_written_shards_are_read_by_safetensors(
    state: dict[str, torch.Tensor], tmp_path: Path, shard_bytes: int
) -> None:
    write(tmp_path, state, shard_bytes)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert (len(shards) > 1) == (tmp_path / INDEX).is_file() == (shard_bytes < 100)
    found: dict[str, torch.Tensor] = {}
    for shard in shards:
        part = load_file(shard)
        assert len(part) == 1 or sum(t.numel() * t.itemsize for t in part.values()) <= shard_bytes
        found |= part
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor)
    with TensorStore.open(tmp_path) as store:
        assert set(store.names) == set(state)


def test_tensors_stay_readable_when_the_store_is_closed(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / WEIGHTS)
    with TensorStore.open(tmp_path) as store:
        dtype, bits = store.read_raw("wide")
    assert dtype == "F32"
    np.testing.assert_array_equal(bits, state["wide"].numpy())
    assert not bits.flags.writeable


def test_an_unfinished_writer_leaves_no_file(tmp_path: Path) -> None:
    plan = {"a": TensorInfo("F32", (2,)), "b": TensorInfo("F32", (2,))}
    with ShardWriter(tmp_path, plan) as writer:
        writer.write("a", "F32", np.zeros(2, np.float32))
        with pytest.raises(ArtifactError, match="1 planned tensors were not written, such as b"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "dtype", "size"), [("b", "F32", 2), ("a", "F16", 2), ("a", "F32", 3)]
)
def test_only_what_is_planned_is_written(tmp_path: Path, name: str, dtype: str, size: int) -> None:
    with (
        ShardWriter(tmp_path, {"a": TensorInfo("F32", (2,))}) as writer,
        pytest.raises(ArtifactError, match="planned is"),
    ):
        writer.write(name, dtype, np.zeros(size, np.float32))


def test_a_pickled_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"pickle")
    with pytest.raises(ArtifactError, match="pickled") as caught:
        TensorStore.open(tmp_path)
    assert "save_pretrained" in caught.value.hint
    with pytest.raises(ArtifactError, match=r"no \.safetensors"):
        TensorStore.open(tmp_path / "pytorch_model-00001-of-00002.bin")


def test_a_missing_shard_is_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write(tmp_path, state, 60)
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ArtifactError, match=lost.name):
        TensorStore.open(tmp_path)


def test_an_index_that_leaves_the_folder_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    write(tmp_path, state, 60)
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["odd"] = "../secret.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match="names the shard"):
        TensorStore.open(tmp_path)


def test_an_index_that_lies_is_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write(tmp_path, state, 60)
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["more"] = index["weight_map"]["odd"]
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match="disagree about more"):
        TensorStore.open(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_file_that_was_cut_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path, kept: int
) -> None:
    save_file(state, tmp_path / WEIGHTS)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(ArtifactError):
        TensorStore.open(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"shape": [2], "data_offsets": [0, 8]}},
        {"a": [1]},
        [],
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        },
    ],
    ids=str,
)
def test_a_damaged_header_is_refused(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    (tmp_path / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ArtifactError):
        TensorStore.open(tmp_path)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_is_rounded_as_torch_rounds_it(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    bits = narrowed("BF16", array)
    expected = torch.from_numpy(array).bfloat16()
    np.testing.assert_array_equal(bits, expected.view(torch.uint16).numpy())
    np.testing.assert_array_equal(widened("BF16", bits), expected.float().numpy())


def test_what_does_not_fit_half_precision_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="does not fit F16"):
        narrowed("F16", np.array([1e6], np.float32))
    with pytest.raises(ArtifactError, match="not finite"):
        narrowed("BF16", np.array([np.nan], np.float32))
