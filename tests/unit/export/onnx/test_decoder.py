"""The decoder computes what transformers computes, in one go or piece by piece.

Measured: 2e-6 on the logits of the untied model, whose standard deviation is 1, and 2e-5 on those
of the tied one, where it is 9.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic import ArtifactError
from edgecritic.graphs.precision import DecoderPrecision, Precision
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder, write_embed_tokens
from edgecritic_export.onnx.ort import open_session
from onnx_reference import Exported, Reference, shortened
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl

TOKENS = np.random.default_rng(1).integers(0, 250, size=(2, 24))


@pytest.fixture(scope="module")
def decoder(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(reference.checkpoint, tmp_path_factory.mktemp("decoder"), "fp32")


def exported(checkpoint: Checkpoint, folder: Path, precision: Precision) -> Exported:
    path = folder / f"decoder_{precision}.onnx"
    n_layers = checkpoint.text.n_layers
    files = write_decoder(checkpoint, path, DecoderPrecision.uniform(precision, n_layers))
    assert files == (path,)
    return Exported(path)


def test_names_and_shapes_are_those_that_transformers_js_reads(
    reference: Reference, decoder: Exported
) -> None:
    text = reference.checkpoint.text
    cache = ["batch_size", text.n_head_kv, "past_sequence_length", text.head_dim]
    assert {name: entry.shape for name, entry in decoder.inputs.items()} == {
        "inputs_embeds": ["batch_size", "sequence_length", text.n_embd],
        "attention_mask": ["batch_size", "total_sequence_length"],
        "num_logits_to_keep": [],
        **{
            f"past_key_values.{layer}.{part}": cache
            for layer in range(text.n_layers)
            for part in ("key", "value")
        },
    }
    assert decoder.outputs == [
        "logits",
        *(f"present.{layer}.{part}" for layer in range(2) for part in ("key", "value")),
    ]


def test_logits_are_those_of_transformers(reference: Reference, decoder: Exported) -> None:
    embeddings = reference.embeddings(TOKENS)
    expected = reference.logits(embeddings)
    found, _ = decoder.run(embeddings)
    assert expected.std() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_prefill_and_decoding_one_by_one_agree(reference: Reference, decoder: Exported) -> None:
    embeddings = reference.embeddings(TOKENS)
    expected = reference.logits(embeddings)
    logits, cache = decoder.run(embeddings[:, :16])
    np.testing.assert_allclose(logits, expected[:, :16], atol=1e-4)
    for position in range(16, 24):
        logits, cache = decoder.run(embeddings[:, position : position + 1], cache)
        np.testing.assert_allclose(logits[:, 0], expected[:, position], atol=1e-4)


def test_several_tokens_are_appended_to_a_past(reference: Reference, decoder: Exported) -> None:
    embeddings = reference.embeddings(TOKENS[:1])
    _, cache = decoder.run(embeddings[:, :9])
    logits, cache = decoder.run(embeddings[:, 9:17], cache)
    rest, _ = decoder.run(embeddings[:, 17:], cache)
    found = np.concatenate((logits, rest), axis=1)
    np.testing.assert_allclose(found, reference.logits(embeddings)[:, 9:], atol=1e-4)


def test_a_past_that_is_cut_short_continues_exactly(
    reference: Reference, decoder: Exported
) -> None:
    first, second = reference.embeddings(TOKENS)
    _, prefix = decoder.run(first[None, :10])
    once, longer = decoder.run(first[None, 10:], prefix)
    other, _ = decoder.run(second[None, 10:], shortened(longer, 10))
    again, _ = decoder.run(first[None, 10:], shortened(longer, 10))
    np.testing.assert_array_equal(again, once)
    joined = np.concatenate((first[None, :10], second[None, 10:]), axis=1)
    np.testing.assert_allclose(other, reference.logits(joined)[:, 10:], atol=1e-4)


@pytest.mark.parametrize("keep", [1, 5, 24, 0])
def test_only_the_asked_for_logits_are_computed(decoder: Exported, keep: int) -> None:
    embeddings = np.random.default_rng(keep).standard_normal((2, 24, 64))
    whole, _ = decoder.run(embeddings)
    kept, _ = decoder.run(embeddings, keep=keep)
    assert kept.shape == (2, keep or 24, 272)
    np.testing.assert_allclose(kept, whole[:, -keep:], atol=1e-5)


def test_rows_padded_on_the_right_are_as_if_alone(reference: Reference, decoder: Exported) -> None:
    embeddings = reference.embeddings(TOKENS)
    mask = np.ones((2, 24), dtype=np.int64)
    mask[1, 15:] = 0
    found, _ = decoder.run(embeddings, mask=mask)
    np.testing.assert_allclose(found[0], reference.logits(embeddings[:1])[0], atol=1e-4)
    alone = reference.logits(embeddings[1:, :15])[0]
    np.testing.assert_allclose(found[1, :15], alone, atol=1e-4)


def test_rows_padded_on_the_left_are_wrong(reference: Reference, decoder: Exported) -> None:
    """GroupQueryAttention has no mask, only lengths: it takes padding for the row's beginning."""
    embeddings = reference.embeddings(TOKENS)
    alone = reference.logits(embeddings[1:, :15])[0]
    padded = embeddings.copy()
    padded[1, 9:], padded[1, :9] = embeddings[1, :15], 0
    mask = np.ones((2, 24), dtype=np.int64)
    mask[1, :9] = 0
    found, _ = decoder.run(padded, mask=mask)
    assert np.abs(found[1, -1] - alone[-1]).max() > 0.1


def test_several_tokens_on_a_past_need_a_batch_of_one(
    reference: Reference, decoder: Exported
) -> None:
    """ONNX Runtime refuses, rather than computing something else."""
    embeddings = reference.embeddings(TOKENS)
    _, cache = decoder.run(embeddings[:, :9])
    with pytest.raises(Exception, match="batch"):
        decoder.run(embeddings[:, 9:17], cache)


# Of the logits' standard deviation. Random weights are harder to round than trained ones.
@pytest.mark.parametrize(("precision", "limit"), [("fp16", 0.001), ("int8", 0.03), ("int4", 0.3)])
def test_narrower_weights_stay_near(
    reference: Reference, tmp_path: Path, precision: Precision, limit: float
) -> None:
    narrow = exported(reference.checkpoint, tmp_path, precision)
    embeddings = reference.embeddings(TOKENS)
    expected = reference.logits(embeddings)
    found, _ = narrow.run(embeddings)
    error = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert 0 <= error < limit


@pytest.fixture(scope="module")
def half(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Halves throughout, so that nothing but the arithmetic differs."""
    return in_half(reference.checkpoint, tmp_path_factory.mktemp("half"))


def in_half(checkpoint: Checkpoint, folder: Path) -> Exported:
    path = folder / "half.onnx"
    write_decoder(checkpoint, path, DecoderPrecision(("fp16", "fp16"), "fp16", "fp16"))
    return Exported(path)


def test_a_decoder_in_half_has_a_cache_in_half(half: Exported) -> None:
    types = {name: entry.type for name, entry in half.inputs.items()}
    assert {kind for name, kind in types.items() if name.startswith("past")} == {"tensor(float16)"}
    assert types["inputs_embeds"] == "tensor(float)"
    outputs = {entry.name: entry.type for entry in half.session.get_outputs()}
    assert outputs.pop("logits") == "tensor(float)"
    assert set(outputs.values()) == {"tensor(float16)"}
    model = onnx.load(half.path)  # ONNX Runtime has checked the types: the session is open
    attention = {
        name
        for node in model.graph.node
        if node.op_type == "GroupQueryAttention"
        for name in node.input[:1]
    }
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert len(attention) == 2
    # All of an attention's floats are of one type, without which CUDA's kernel is not taken.
    assert kinds["cos_cache"] == kinds["sin_cache"] == onnx.TensorProto.FLOAT16
    for name in attention:
        product = name.replace(".output", ".product").removesuffix(".product")
        assert kinds[f"{product}.weight_T"] == onnx.TensorProto.FLOAT16


# Of the logits' standard deviation: half precision keeps 11 bits, and two layers add a few errors.
HALF = 0.005


def error(found: np.ndarray, expected: np.ndarray) -> float:
    assert np.isfinite(found).all()
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def test_half_precision_stays_near(reference: Reference, half: Exported) -> None:
    embeddings = reference.embeddings(TOKENS)
    found, cache = half.run(embeddings)
    assert found.dtype == np.float32
    assert {tensor.dtype for tensor in cache.values()} == {np.dtype(np.float16)}
    assert 0 < error(found, reference.logits(embeddings)) < HALF


def test_in_half_a_past_is_continued_and_cut_short(reference: Reference, half: Exported) -> None:
    embeddings = reference.embeddings(TOKENS[:1])
    expected = reference.logits(embeddings)
    _, cache = half.run(embeddings[:, :9])
    several, cache = half.run(embeddings[:, 9:17], cache)
    assert error(several, expected[:, 9:17]) < HALF
    logits = []
    for position in range(17, 24):
        one, cache = half.run(embeddings[:, position : position + 1], cache)
        logits.append(one)
    rest = np.concatenate(logits, axis=1)
    assert error(rest, expected[:, 17:]) < HALF
    again, _ = half.run(embeddings[:, 17:18], shortened(cache, 17))
    np.testing.assert_array_equal(again, logits[0])


@pytest.mark.parametrize(
    ("precision", "limit"),
    [
        (DecoderPrecision(("int8", "int8"), "int8", "fp16"), 0.03),
        (DecoderPrecision.mixed(2, (1,), "fp16"), 0.3),
    ],
    ids=["int8", "mixed"],
)
def test_few_bits_in_half_precision(
    reference: Reference, tmp_path: Path, precision: DecoderPrecision, limit: float
) -> None:
    path = tmp_path / "q4f16.onnx"
    write_decoder(reference.checkpoint, path, precision)
    embeddings = reference.embeddings(TOKENS)
    found, _ = Exported(path).run(embeddings)
    assert 0 < error(found, reference.logits(embeddings)) < limit
    plain = tmp_path / "q4.onnx"
    write_decoder(reference.checkpoint, plain, replace(precision, activations="fp32"))
    # Next to the rounding of the weights, that of the activations is small.
    assert error(found, Exported(plain).run(embeddings)[0]) < 0.03


def intermediate_halves(path: Path, embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """What a decoder's layers hand on in float16.

    On a CPU, ONNX Runtime computes parts of such a graph in float32 and never rounds what it
    passes on inside; what is asked for as an output is rounded.
    """
    model = onnx.load(path)
    asked = [
        output
        for node in model.graph.node
        for output in node.output[:1]
        if output.startswith("model.layers.") and not output.endswith(("_float", ".made", "normed"))
    ]
    kind = onnx.TensorProto.FLOAT16
    for name in asked:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    watched = path.with_name("watched.onnx")
    onnx.save(model, watched)
    session = open_session(watched, n_threads=1)
    feeds = {
        "inputs_embeds": embeddings.astype(np.float32),
        "attention_mask": np.ones(embeddings.shape[:2], np.int64),
        "num_logits_to_keep": np.array(0, np.int64),
        **Exported(path).empty(len(embeddings)),
    }
    return dict(zip(asked, session.run(asked, feeds), strict=True))


def test_large_values_do_not_overflow_half_precision(tmp_path: Path) -> None:
    """As in Qwen2: gated values of some hundred thousand, and a residual stream beyond 65504."""
    write_llava_onevision(tmp_path / "checkpoint", seed=5)
    weights = tmp_path / "checkpoint" / "model.safetensors"
    tensors = load_file(weights)
    for name, tensor in tensors.items():
        if name.endswith(("mlp.up_proj.weight", "mlp.gate_proj.weight")):
            tensors[name] = tensor * 128
        if name.endswith("mlp.down_proj.weight") and "language_model" in name:
            tensors[name] = tensor * 8
    save_file(tensors, weights, {"format": "pt"})
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "checkpoint").eval()
    largest = []
    with Checkpoint.open(tmp_path / "checkpoint") as checkpoint:
        large = Reference(checkpoint, model)
        for layer in model.model.language_model.layers:
            layer.mlp.down_proj.register_forward_hook(
                lambda _, inputs, output: largest.append(
                    (inputs[0].abs().max().item(), output.abs().max().item())
                )
            )
        embeddings = large.embeddings(TOKENS)
        expected = large.logits(embeddings)
        half = in_half(checkpoint, tmp_path)
        found, _ = half.run(embeddings)
    halves = intermediate_halves(half.path, embeddings)
    assert len(halves) == 2 * 13
    for name, values in halves.items():
        assert np.isfinite(values).all(), name
    gated, made = (max(values) for values in zip(*largest, strict=True))
    assert gated > 65504
    assert made > 65504
    assert error(found, expected) < 2 * HALF


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_external_data_holds_the_same_weights(
    reference: Reference, tmp_path: Path, precision: Precision
) -> None:
    inside = exported(reference.checkpoint, tmp_path, precision)
    path = tmp_path / "apart.onnx"
    files = write_decoder(
        reference.checkpoint, path, DecoderPrecision.uniform(precision, 2), external=True
    )
    assert files == (path, tmp_path / "apart.onnx_data")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [inside.path.name, *(file.name for file in files)]
    )
    assert path.stat().st_size < 30_000
    embeddings = reference.embeddings(TOKENS)
    np.testing.assert_array_equal(Exported(path).run(embeddings)[0], inside.run(embeddings)[0])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_token_embeddings(reference: Reference, tmp_path: Path, precision: Precision) -> None:
    path = tmp_path / "embed_tokens.onnx"
    write_embed_tokens(reference.checkpoint, path, precision)
    (found,) = open_session(path).run(None, {"input_ids": TOKENS})
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, reference.embeddings(TOKENS), atol=0 if precision == "fp32" else 2e-3
    )


def test_weights_that_overflow_in_half_precision_are_refused(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "checkpoint", seed=1)
    weights = tmp_path / "checkpoint" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name][0, 0] = 1e6
    save_file(tensors, weights)
    with (
        Checkpoint.open(tmp_path / "checkpoint") as checkpoint,
        pytest.raises(ArtifactError, match="up_proj"),
    ):
        write_decoder(checkpoint, tmp_path / "out.onnx", DecoderPrecision.uniform("fp16", 2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_other_families_are_refused(tmp_path: Path) -> None:
    write_qwen2_5_vl(tmp_path / "checkpoint")
    with (
        Checkpoint.open(tmp_path / "checkpoint") as checkpoint,
        pytest.raises(ArtifactError, match="qwen2_5_vl"),
    ):
        write_decoder(checkpoint, tmp_path / "out.onnx", DecoderPrecision.uniform("fp32", 2))
