from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecritic.backends.base import FloatArray, Span, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ArtifactError, InputError
from edgecritic.gguf_header import read_header
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass
from edgecritic_export.gguf.imatrix import ImportanceMatrix, collect
from edgecritic_export.gguf.mix import TensorMix
from edgecritic_export.gguf.quantize import LADDER, PROJECTOR_LADDER, QuantizeOptions, quantize
from tiny_models import LanguageModelShape, language_tensors, write_language_model

from .conftest import WideModel

OPTIONS = ForwardOptions(n_ctx=128, n_threads=1)
# Bits of a weight in the layers' matrices, and correlation with the full logits. The mix of a
# model of two layers is richer than a deep one's: a quarter of its layers counts as sensitive.
EXPECTED = {
    "F16": ({"F16"}, 0.999999),
    "BF16": ({"BF16"}, 0.9999),
    "Q8_0": ({"Q8_0"}, 0.9995),
    "Q6_K": ({"Q6_K", "Q8_0"}, 0.999),
    "Q5_K_M": ({"Q5_K", "Q6_K"}, 0.995),
    "Q4_K_M": ({"Q4_K", "Q6_K"}, 0.99),
    "Q4_0": ({"Q4_0", "Q6_K"}, 0.98),
    "IQ4_XS": ({"IQ4_XS", "Q5_K", "Q6_K"}, 0.98),
    "Q3_K_M": ({"Q3_K", "Q4_K", "Q5_K", "Q6_K"}, 0.96),
    "Q2_K": ({"Q2_K", "Q3_K", "Q4_K", "Q6_K"}, 0.85),
}


@pytest.fixture(scope="module")
def importance(wide: WideModel) -> ImportanceMatrix:
    rows = [wide.row(seed) for seed in range(4)]
    return collect(wide.language_model, rows, ("random",), OPTIONS)


def logits(model: Path, row: Sequence[Span]) -> FloatArray:
    with ForwardPass(model, OPTIONS) as forward:
        return np.concatenate([part.copy() for part in forward.logits(row)])


@pytest.mark.parametrize("quant", LADDER)
def test_the_ladder(wide: WideModel, tmp_path: Path, quant: str) -> None:
    made = quantize(wide.language_model, tmp_path / "out.gguf", quant)
    assert list(tmp_path.iterdir()) == [made.path]
    assert made.mix == TensorMix.of(made.path)
    assert made.fallbacks == ()
    types, correlation = EXPECTED[quant]
    assert {share.type_name for share in made.mix.shares} <= types | {"F32"}
    assert any(share.type_name == quant.removesuffix("_M") for share in made.mix.shares)
    full, found = logits(wide.language_model, wide.row(9)), logits(made.path, wide.row(9))
    assert np.corrcoef(full.ravel(), found.ravel())[0, 1] > correlation


def test_lower_types_take_fewer_bits(wide: WideModel, tmp_path: Path) -> None:
    bits = [
        quantize(wide.language_model, tmp_path / quant, quant).mix.bits_per_weight
        for quant in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
    ]
    assert bits == sorted(bits, reverse=True)
    assert 16 <= bits[0] < 16.1
    assert 8.5 <= bits[1] < 8.6


def test_the_mix_counts_every_byte(wide: WideModel) -> None:
    mix = TensorMix.of(wide.language_model)
    (share,) = mix.shares
    header = read_header(wide.language_model)
    assert (share.type_name, share.n_tensors) == ("F32", len(header.tensors))
    assert mix.n_bytes == share.n_bytes == 4 * share.n_weights
    assert mix.bits_per_weight == 32
    assert str(mix) == f"{share.n_tensors} F32; {share.n_bytes:,} bytes, 32.00 bits/weight"


@pytest.mark.parametrize("quant", PROJECTOR_LADDER)
def test_vision_towers(wide: WideModel, tmp_path: Path, quant: str) -> None:
    made = quantize(wide.mmproj, tmp_path / "mmproj.gguf", quant)
    kinds = {claim.name: claim.type_name for claim in read_header(made.path).tensors.values()}
    assert kinds["v.blk.0.ffn_down.weight"] == kinds["mm.2.weight"] == quant
    assert kinds["v.position_embd.weight"] == kinds["v.image_newline"] == "F32"
    tiles = np.random.default_rng(0).integers(0, 256, size=(2, 28, 28, 3), dtype=np.uint8)
    features = []
    for mmproj in (wide.mmproj, made.path):
        options = EngineOptions(n_ctx=64, n_threads=1, max_sequences=1)
        backend = LlamaCppBackend(wide.language_model, mmproj=mmproj, options=options)
        features.append(backend.encode_tiles(tiles))
        backend.close()
    full, found = features
    lengths = np.linalg.norm(full, axis=-1) * np.linalg.norm(found, axis=-1)
    assert ((full * found).sum(-1) / lengths).min() > (0.99999 if quant == "F16" else 0.999)


def test_overrides(wide: WideModel, tmp_path: Path) -> None:
    overrides = [(r"blk\.1\.ffn_(?=down)", "F16"), (r"ffn_down", "Q8_0"), ("^token_embd", "Q5_0")]
    options = QuantizeOptions(overrides=overrides)
    made = quantize(wide.language_model, tmp_path / "out.gguf", "Q4_0", options)
    kinds = {claim.name: claim.type_name for claim in read_header(made.path).tensors.values()}
    assert kinds["blk.1.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
    assert kinds["token_embd.weight"] == "Q5_0"
    assert kinds["blk.0.ffn_up.weight"] == kinds["blk.1.ffn_gate.weight"] == "Q4_0"
    assert made.fallbacks == ("blk.1.ffn_down.weight",)


@pytest.mark.parametrize(
    ("quant", "override", "message"),
    [
        ("Q4_0", ("ffn_(", "Q8_0"), "no regular expression"),
        ("Q4_0", ("ffn_sideways", "Q8_0"), "matches 0 tensors"),
        ("Q4_0", ("attn_norm", "Q8_0"), "matches 2 tensors, none of them a matrix"),
        ("Q4_0", ("ffn_down", "Q8_1"), "'Q8_1'"),
        ("F16", ("ffn_down", "Q8_0"), "one type"),
    ],
)
def test_overrides_that_cannot_be_followed(
    wide: WideModel, tmp_path: Path, quant: str, override: tuple[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        quantize(
            wide.language_model, tmp_path / "out", quant, QuantizeOptions(overrides=[override])
        )
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def narrow(path: Path, n_embd: int, n_ff: int) -> Path:
    shape = LanguageModelShape(n_embd=n_embd, n_ff=n_ff)
    write_language_model(language_tensors(shape, np.random.default_rng(0)), shape, path)
    return path


def test_rows_that_do_not_fit_a_block(tmp_path: Path) -> None:
    source = narrow(tmp_path / "narrow.gguf", n_embd=64, n_ff=112)
    options = QuantizeOptions(overrides=[("ffn_up", "Q4_K")])
    with pytest.raises(InputError, match=r"blk\.0\.ffn_up\.weight cannot be Q4_K: its rows of 64"):
        quantize(source, tmp_path / "out.gguf", "Q4_0", options)
    made = quantize(source, tmp_path / "out.gguf", "Q4_K_M")
    # 64 is no multiple of 256, and llama.cpp falls back to blocks of 32; 112 is of neither.
    assert {share.type_name for share in made.mix.shares} == {"Q5_0", "Q8_0", "F16", "F32"}
    assert made.fallbacks == ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight")


def test_a_model_that_fits_no_block(tmp_path: Path) -> None:
    source = narrow(tmp_path / "narrow.gguf", n_embd=48, n_ff=40)
    with pytest.raises(ArtifactError, match=r"no matrix .* Q8_0.* rows of (48|40)") as caught:
        quantize(source, tmp_path / "out.gguf", "Q8_0")
    assert "F16" in caught.value.hint
    assert list(tmp_path.iterdir()) == [source]


def test_sources_and_types_that_are_refused(wide: WideModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'Q9_X'") as caught:
        quantize(wide.language_model, tmp_path / "out", "Q9_X")
    assert "Q4_K_M" in caught.value.hint
    once = quantize(wide.language_model, tmp_path / "once.gguf", "Q8_0").path
    with pytest.raises(ArtifactError, match="is quantized") as refused:
        quantize(once, tmp_path / "twice.gguf", "Q4_0")
    assert "F16" in refused.value.hint
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(ArtifactError, match="broken"):
        quantize(tmp_path / "broken.gguf", tmp_path / "out", "Q4_0")


def test_an_old_file_is_kept_when_the_quantizer_gives_up(tmp_path: Path) -> None:
    shape = LanguageModelShape()
    tensors = language_tensors(shape, np.random.default_rng(0))
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e6  # overflows in F16
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    write_language_model(tensors, shape, source)
    target.write_bytes(b"old")
    with pytest.raises(ArtifactError, match="did not quantize") as caught:
        quantize(source, target, "F16")
    assert "half precision" in caught.value.hint
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [source, target]


def weighted_error(source: Path, quantized: Path, name: str, importance: ImportanceMatrix) -> float:
    from gguf import GGUFReader, dequantize

    found = []
    for path in (source, quantized):
        (tensor,) = (t for t in GGUFReader(path).tensors if t.name == name)
        found.append(dequantize(tensor.data, tensor.tensor_type))
    return float(((found[0] - found[1]) ** 2 * importance.means(name)).sum())


@pytest.mark.parametrize("quant", ["Q4_0", "Q2_K"])
def test_important_inputs_are_rounded_more_carefully(
    wide: WideModel, importance: ImportanceMatrix, tmp_path: Path, quant: str
) -> None:
    plain = quantize(wide.language_model, tmp_path / "plain.gguf", quant).path
    options = QuantizeOptions(importance=importance)
    guided = quantize(wide.language_model, tmp_path / "guided.gguf", quant, options).path
    for module in ("attn_q", "ffn_up", "ffn_gate"):
        name = f"blk.1.{module}.weight"
        before, after = (
            weighted_error(wide.language_model, path, name, importance) for path in (plain, guided)
        )
        assert after < before, name


@pytest.mark.parametrize("quant", ["IQ3_XXS", "IQ2_XS"])
def test_types_that_need_importance(
    wide: WideModel, importance: ImportanceMatrix, tmp_path: Path, quant: str
) -> None:
    with pytest.raises(ArtifactError, match="without an importance matrix"):
        quantize(wide.language_model, tmp_path / "out.gguf", quant)
    options = QuantizeOptions(importance=importance)
    made = quantize(wide.language_model, tmp_path / "out.gguf", quant, options)
    assert made.mix.bits_per_weight < 6
    row = (TextSpan((1, 2, 3)),)
    assert np.isfinite(logits(made.path, row)).all()


def test_importance_of_another_model(
    wide: WideModel, importance: ImportanceMatrix, tmp_path: Path
) -> None:
    other = narrow(tmp_path / "other.gguf", n_embd=64, n_ff=96)
    options = QuantizeOptions(importance=importance)
    with pytest.raises(ArtifactError, match=r"has 256 inputs, .* has 64"):
        quantize(other, tmp_path / "out.gguf", "Q4_0", options)
    first, *others = importance.names
    sums = {name: importance.sums[name] for name in others}
    options = QuantizeOptions(importance=replace(importance, sums=sums))
    with pytest.raises(ArtifactError, match=f"lacks 1 of 14 .* such as {first}"):
        quantize(wide.language_model, tmp_path / "out.gguf", "Q4_0", options)
    sums = {"blk.9.attn_q.weight": importance.sums[first], **importance.sums}
    options = QuantizeOptions(importance=replace(importance, sums=sums))
    with pytest.raises(ArtifactError, match="no such matrix"):
        quantize(wide.language_model, tmp_path / "out.gguf", "Q4_0", options)
