"""Sizes that are planned are those of the files."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgecritic.graphs.precision import DecoderPrecision, Precision
from edgecritic_export.onnx.decoder import write_decoder, write_embed_tokens
from edgecritic_export.onnx.precision import VisionPrecision
from edgecritic_export.onnx.sizes import decoder_bytes, embedding_bytes, vision_bytes
from edgecritic_export.onnx.vision import write_vision
from onnx_reference import Reference


def stored_bytes(path: Path) -> int:
    """Bytes of all weights that lie beside a graph."""
    model = onnx.load(path, load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return sum(int(entry.value) for entry in entries if entry.key == "length")


@pytest.mark.parametrize(
    "precision",
    [
        *(DecoderPrecision.uniform(kind, 2) for kind in ("fp32", "fp16", "int8")),
        DecoderPrecision.mixed(2, (1,)),
        DecoderPrecision.mixed(2, (1,), "fp16"),
    ],
    ids=lambda precision: "-".join((*precision.layers, precision.activations)),
)
def test_decoders(reference: Reference, precision: DecoderPrecision, tmp_path: Path) -> None:
    path, _ = write_decoder(
        reference.checkpoint, tmp_path / "decoder.onnx", precision, external=True
    )
    assert decoder_bytes(reference.checkpoint, precision) == pytest.approx(
        stored_bytes(path), rel=0.01
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_embeddings(reference: Reference, precision: Precision, tmp_path: Path) -> None:
    path = tmp_path / "embed.onnx"
    write_embed_tokens(reference.checkpoint, path, precision, external=True)
    assert embedding_bytes(reference.checkpoint, precision) == stored_bytes(path)


@pytest.mark.parametrize("reference", ["qwen2"], indirect=True)
def test_towers(reference: Reference, tmp_path: Path) -> None:
    precisions: tuple[VisionPrecision, ...] = ("fp32", "fp16", "int8")
    targets = {precision: tmp_path / f"{precision}.onnx" for precision in precisions}
    write_vision(reference.checkpoint, targets, external=True)
    for precision, path in targets.items():
        # Of a tiny tower much is small enough to stay in the graph.
        assert vision_bytes(reference.checkpoint, precision) == pytest.approx(
            stored_bytes(path), rel=0.15
        )
