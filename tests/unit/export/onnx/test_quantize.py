"""The layers that four bits harm most are found, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgecritic import InputError
from edgecritic.backends.base import ImageSpan, TextSpan
from edgecritic.graphs.precision import DecoderPrecision
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder
from edgecritic_export.onnx.importance import measure_importance
from edgecritic_export.onnx.options import QuantizationLimits
from edgecritic_export.onnx.ort import DecoderSession
from edgecritic_export.onnx.quantize import (
    choose_eight_bit,
    log_softmax,
    usual_eight_bit,
)
from edgecritic_export.onnx.rows import EmbeddedRow, embedded_row
from onnx_reference import Reference
from tiny_checkpoints import write_llava_onevision

N_LAYERS = 2
GATED = ("gate", "up", "down")


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    """The first layer adds next to nothing to the residual stream, so rounding it is harmless."""
    folder = tmp_path_factory.mktemp("lopsided")
    write_llava_onevision(folder, seed=4)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    for module in ("self_attn.o_proj", "mlp.down_proj"):
        (name,) = (name for name in tensors if name.endswith(f"layers.0.{module}.weight"))
        tensors[name] *= np.float32(0.01)
    save_file(tensors, weights)
    with Checkpoint.open(folder) as checkpoint:
        yield checkpoint


@pytest.fixture(scope="module")
def rows(lopsided: Checkpoint) -> list[EmbeddedRow]:
    rng = np.random.default_rng(6)
    picture = ImageSpan("picture", rng.standard_normal((20, 64)).astype(np.float32))
    return [
        embedded_row(
            lopsided,
            (text(rng, 5), picture, text(rng, 12), text(rng, 4)),
            answer_length=4,
        )
        for _ in range(3)
    ]


def text(rng: np.random.Generator, length: int) -> TextSpan:
    return TextSpan(tuple(int(token) for token in rng.integers(0, 250, length)))


def limits(max_kl: float, max_eight_bit: float = 1.0) -> QuantizationLimits:
    return QuantizationLimits(max_kl, max_eight_bit, n_threads=1)


def test_rows_are_embedded_tokens_and_features(reference: Reference) -> None:
    features = np.ones((3, 64), dtype=np.float32)
    spans = (TextSpan((5, 6)), ImageSpan("k", features), TextSpan((7,)), TextSpan((8, 9)))
    row = embedded_row(reference.checkpoint, spans, 2)
    tokens = reference.embeddings(np.array([[5, 6, 7, 8, 9]]))[0]
    expected = np.concatenate((tokens[:2], features, tokens[2:]))
    np.testing.assert_array_equal(row.embeddings, expected)
    assert row.positions == (5, 6)  # behind which tokens 8 and 9 come
    with pytest.raises(InputError):
        embedded_row(reference.checkpoint, spans, 8)


def test_the_worst_layer_is_kept(
    lopsided: Checkpoint, rows: list[EmbeddedRow], tmp_path: Path
) -> None:
    every = choose_eight_bit(lopsided, rows, tmp_path, limits(max_kl=0.0))
    assert every.alone[1] > 10 * every.alone[0] > 0
    assert every.eight_bit == (0, 1)
    assert every.kl == 0.0
    half = choose_eight_bit(lopsided, rows, tmp_path, limits(max_kl=every.alone[0] * 1.5))
    assert half.eight_bit == (1,)
    none = choose_eight_bit(lopsided, rows, tmp_path, limits(max_kl=1e9))
    assert none.eight_bit == ()
    capped = choose_eight_bit(lopsided, rows, tmp_path, limits(0.0, max_eight_bit=0.5))
    assert capped.eight_bit == (1,)
    assert not any(tmp_path.iterdir())


def test_the_measured_mix_is_the_one_that_is_written(
    lopsided: Checkpoint, rows: list[EmbeddedRow], tmp_path: Path
) -> None:
    choice = choose_eight_bit(lopsided, rows, tmp_path, limits(0.0, max_eight_bit=0.5))
    log_probs = []
    for eight_bit in (range(N_LAYERS), choice.eight_bit):
        path = tmp_path / "decoder.onnx"
        precision = DecoderPrecision.mixed(N_LAYERS, eight_bit)
        write_decoder(lopsided, path, precision, importance=choice.importance)
        session = DecoderSession(path, n_threads=1)
        found = [session.logits(row.embeddings, row.positions) for row in rows]
        log_probs.append(log_softmax(np.concatenate(found)))
    reference, mixed = log_probs
    kl = np.mean((np.exp(reference) * (reference - mixed)).sum(axis=-1))
    assert kl == pytest.approx(choice.kl, rel=1e-6)


def test_importance_is_the_mean_square_of_what_a_matrix_reads(
    lopsided: Checkpoint, rows: list[EmbeddedRow], tmp_path: Path
) -> None:
    path = tmp_path / "decoder.onnx"
    write_decoder(lopsided, path, DecoderPrecision.uniform("fp32", N_LAYERS), external=True)
    importance = measure_importance(path, rows, n_threads=1)
    modules = ("self_attn.qkv_proj", "self_attn.o_proj", *(f"mlp.{n}_proj" for n in GATED))
    assert set(importance) == {f"model.layers.{k}.{m}" for k in range(N_LAYERS) for m in modules}
    everything = np.concatenate([row.embeddings for row in rows]).astype(np.float64)
    normed = everything / np.sqrt((everything**2).mean(axis=1, keepdims=True) + 1e-6)
    weight = lopsided.store.read(
        lopsided.language_tensors()["model.layers.0.input_layernorm.weight"]
    )
    expected = ((normed * weight) ** 2).mean(axis=0)
    np.testing.assert_allclose(importance["model.layers.0.self_attn.qkv_proj"], expected, rtol=1e-4)
    assert importance["model.layers.1.mlp.down_proj"].shape == (lopsided.text.n_ff,)


def test_without_rows_there_is_nothing_to_measure(lopsided: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        choose_eight_bit(lopsided, [], tmp_path)


@pytest.mark.parametrize("n_layers", [1, 2, 28, 30])
def test_the_usual_layers_are_the_outer_ones_and_every_third(n_layers: int) -> None:
    kept = usual_eight_bit(n_layers)
    assert set(kept) <= set(range(n_layers))
    if n_layers >= 8:
        assert {0, 1, 2, n_layers - 1} <= set(kept)
        assert n_layers / 3 < len(kept) < 0.6 * n_layers
