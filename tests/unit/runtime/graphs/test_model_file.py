"""Files that are written piece by piece are ordinary ONNX files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic import ArtifactError
from edgecritic.graphs import model_file
from edgecritic.graphs.model_file import ModelFile
from edgecritic.graphs.spool import SpooledTensor, graph_head, n_bytes
from edgecritic.graphs.wire import DType
from edgecritic_export.onnx.ort import open_session
from edgecritic_export.onnx.rewrite import rewrite

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((300, 40)).astype(np.float32)
BIAS = np.arange(40, dtype=np.float16)


def write(path: Path, *, external: bool | None = None) -> tuple[Path, ...]:
    """x @ MATRIX + BIAS."""
    with ModelFile(path, external=external) as model:
        x = model.input("x", "float32", "n", 300)
        matrix = model.weight_parts("matrix", MATRIX.shape, [MATRIX[:7], MATRIX[7:]])
        product = model.node("MatMul", [x, matrix], ["product"])
        bias = model.cast(model.weight("bias", BIAS), "float32", "bias_float32")
        model.node("Add", [product, bias], ["y"])
        model.output("y", "float32", "n", 40)
        return model.finish()


@pytest.mark.parametrize("external", [None, False, True])
def test_other_tools_read_what_was_written(tmp_path: Path, external: bool | None) -> None:
    path = tmp_path / "model.onnx"
    files = write(path, external=external)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(held["matrix"], MATRIX)
    np.testing.assert_array_equal(held["bias"], BIAS)
    x = RNG.standard_normal((3, 300)).astype(np.float32)
    (found,) = open_session(path).run(None, {"x": x})
    np.testing.assert_allclose(found, x @ MATRIX + BIAS, atol=1e-4)


def test_the_bytes_are_those_of_protobuf_itself(tmp_path: Path) -> None:
    """Nothing is left to a parser's tolerance: one graph, its length known in front."""
    path = tmp_path / "model.onnx"
    write(path)
    content = path.read_bytes()
    assert len(onnx.load(path).SerializeToString()) == len(content)


def test_weights_go_out_of_a_model_that_would_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "INLINE_LIMIT", 10_000)
    path = tmp_path / "model.onnx"
    assert len(write(path)) == 2
    assert path.stat().st_size < 1000
    monkeypatch.undo()
    assert len(write(path)) == 1  # and the data of the model before is gone
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


@pytest.fixture
def dtypes() -> dict[str, np.ndarray]:
    """Weights of every type, and of lengths around a page."""
    return {
        "page": RNG.standard_normal(1024).astype(np.float32),
        "byte_more": RNG.integers(0, 255, 4097).astype(np.uint8),
        "one": np.array([3], dtype=np.int64),
        "half": RNG.standard_normal((3, 5, 7)).astype(np.float16),
        "int": RNG.integers(-9, 9, (2, 2)).astype(np.int32),
    }


def test_external_weights_begin_on_pages_of_their_own(
    tmp_path: Path, dtypes: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "model.onnx"
    with ModelFile(path, external=True) as model:
        for name, array in dtypes.items():
            model.weight(name, array)
        graph, data = model.finish()
    assert (graph, data) == (path, tmp_path / "model.onnx_data")
    found = onnx.load(path, load_external_data=False)
    end = 0
    content = data.read_bytes()
    for tensor in found.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        array = dtypes[tensor.name]
        offset, length = int(place["offset"]), int(place["length"])
        assert place["location"] == "model.onnx_data"
        assert not tensor.HasField("raw_data")
        assert offset % 4096 == 0
        assert end <= offset < end + 4096  # as near to the one before as a page allows
        assert length == array.nbytes
        assert content[offset : offset + length] == array.tobytes()
        end = offset + length
    assert end == len(content)
    loaded = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert loaded.keys() == dtypes.keys()
    for name, array in dtypes.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


class Sparse:
    """A file in which large writes leave holes: gigabytes that take no disk and no time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.flush, self.tell, self.close = file.flush, file.tell, file.close
        self.fileno = file.fileno

    def write(self, content: memoryview) -> int:
        if len(content) < 1 << 20:
            return self._file.write(content)
        self._file.seek(len(content), os.SEEK_CUR)
        return len(content)


@pytest.mark.parametrize("external", [None, False])
def test_more_weights_than_a_message_holds(tmp_path: Path, external: bool | None) -> None:
    path = tmp_path / "model.onnx"
    piece = np.zeros((1 << 24,), dtype=np.float32)
    n_pieces = 33  # of 64 MiB: over the 2 GiB of a protobuf message
    with ModelFile(path, external=external) as model:
        model._spool = Sparse(model._spool)
        model.weight_parts("large", (n_pieces, 1 << 24), (piece for _ in range(n_pieces)))
        model.weight("behind", BIAS)
        if external is False:
            with pytest.raises(ArtifactError, match="do not fit into one ONNX file"):
                model.finish()
            return
        assert len(model.finish()) == 2
    assert path.stat().st_size < 1000
    large, behind = onnx.load(path, load_external_data=False).graph.initializer
    assert int({e.key: e.value for e in large.external_data}["length"]) == 33 << 26
    assert int({e.key: e.value for e in behind.external_data}["offset"]) >= 1 << 31
    onnx.external_data_helper.load_external_data_for_tensor(behind, str(tmp_path))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(behind), BIAS)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_an_interrupted_write_leaves_no_model_over_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external: bool, stop: int
) -> None:
    """Stopped at each of its last steps, a model is the old one, the new one, or none."""
    path = tmp_path / "model.onnx"
    with ModelFile(path, external=external) as model:
        model.weight("matrix", MATRIX)
        model.finish()
    steps = iter(range(1, 100))

    def stopping(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            if next(steps) == stop:
                raise KeyboardInterrupt
            return real(*arguments)

        return step

    monkeypatch.setattr(os, "fsync", stopping(os.fsync))
    monkeypatch.setattr(Path, "replace", stopping(Path.replace))
    try:
        with ModelFile(path, external=external) as model:
            model.weight("matrix", -MATRIX)
            model.finish()
        complete = True
    except KeyboardInterrupt:
        complete = False
    monkeypatch.undo()
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names <= {"model.onnx", "model.onnx_data"}  # nothing unfinished
    assert complete == (stop > (4 if external else 3))
    if path.exists():
        (tensor,) = onnx.load(path).graph.initializer
        expected = -MATRIX if complete else MATRIX
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), expected)


def test_a_first_write_that_is_interrupted_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SpooledTensor, "copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed_while_weights_are_copied(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"1234")
    tensor = SpooledTensor("w", "uint8", (8,), offset=0, nbytes=8)
    with (
        spool.open("rb") as source,
        (tmp_path / "model").open("wb") as target,
        pytest.raises(OSError, match="w ends 4 bytes early"),
    ):
        tensor.copy(source, target)


SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=3)


@given(SHAPES, st.sampled_from(("float32", "float16", "int64", "int32", "uint8")))
def test_a_head_and_its_bytes_are_an_initializer(shape: list[int], dtype: DType) -> None:
    length = n_bytes(dtype, shape)
    tensor = SpooledTensor("a.weight", dtype, tuple(shape), 0, length)
    content = bytes(index % 251 for index in range(length))
    graph = tensor.head() + content
    found = onnx.ModelProto.FromString(graph_head(len(graph)) + graph).graph
    array = onnx.numpy_helper.to_array(found.initializer[0])
    assert (found.initializer[0].name, array.shape, array.dtype) == (
        "a.weight",
        tuple(shape),
        dtype,
    )
    assert array.tobytes() == content


def test_an_unfinished_model_leaves_nothing(tmp_path: Path) -> None:
    with ModelFile(tmp_path / "model.onnx") as model:
        model.weight("matrix", MATRIX)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((300, 41), [MATRIX]),
        ((300, 40), [MATRIX[:-1]]),
        ((300, 40), [MATRIX.astype(np.float64)]),
        ((300, 40), [np.full_like(MATRIX, np.nan)]),
        ((1,), []),
    ],
)
def test_wrong_weights_are_refused(
    tmp_path: Path, shape: tuple[int, ...], parts: list[np.ndarray]
) -> None:
    with ModelFile(tmp_path / "model.onnx") as model, pytest.raises(ArtifactError):
        model.weight_parts("matrix", shape, parts)


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    with ModelFile(tmp_path / "model.onnx") as model:
        model.weight("matrix", MATRIX)
        with pytest.raises(ArtifactError):
            model.weight("matrix", MATRIX)


def test_other_opsets_are_not_taken_over(tmp_path: Path) -> None:
    write(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.opset_import[0].version = 20
    with pytest.raises(ArtifactError, match="20"):
        rewrite(model, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_what_a_command_line_names_needs_no_onnx() -> None:
    import subprocess

    code = "import sys, edgecritic_export.onnx.options; sys.exit('onnx' in sys.modules)"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=paths)
