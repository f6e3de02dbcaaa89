"""Files that are written piece by piece are ordinary ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecritic import ArtifactError
from edgecritic_export.onnx import model_file
from edgecritic_export.onnx.model_file import ModelFile, rewrite
from edgecritic_export.onnx.ort import open_session

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
