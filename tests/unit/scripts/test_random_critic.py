"""The random 7B that is timed: its file is laid out as llama.cpp's quantizer would have done it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgecritic.gguf_header import read_header
from edgecritic_export.gguf.quantize import quantize
from tiny_models import LanguageModelShape, language_tensors, write_language_model

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))  # it takes the checkpoint from measure_7b
        spec = importlib.util.spec_from_file_location("random_critic", SCRIPTS / "random_critic.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules.pop("measure_7b", None)
    return module


def quantized(folder: Path, layers: int) -> Path:
    shape = LanguageModelShape(n_layers=layers, n_embd=256, n_ff=512)
    whole = folder / f"{layers}-F32.gguf"
    write_language_model(language_tensors(shape, np.random.default_rng(layers)), shape, whole)
    return quantize(whole, folder / f"{layers}-Q4_K_M.gguf", "Q4_K_M").path


@pytest.mark.parametrize("layers", [8, 28])
def test_repeated_layers_have_the_types_of_quantized_ones(script, tmp_path, layers):
    made = tmp_path / "made.gguf"
    script.repeat_layers(quantized(tmp_path, script.MADE), made, layers)
    expected = read_header(quantized(tmp_path, layers))
    found = read_header(made)
    assert found.count("llama.block_count") == layers
    assert {n: (t.type_name, t.shape) for n, t in found.tensors.items()} == {
        n: (t.type_name, t.shape) for n, t in expected.tensors.items()
    }


def test_bits_of_bfloat16(script):
    values = np.array([1.0, -2.5, 4.0], dtype=np.float32)
    assert script._float(script._bfloat(values)).tolist() == values.tolist()
