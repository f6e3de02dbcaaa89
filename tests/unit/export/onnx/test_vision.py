"""Vision tower and projector against transformers' own path from pixels to features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic.backends.llamacpp.projector_file import tower_shape
from edgecritic.derived.gguf_weights import GgufWeights
from edgecritic.gguf_header import read_header
from edgecritic.graphs.tower import write_tower
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.mmproj import write_checkpoint_mmproj
from edgecritic_export.onnx.ort import open_session
from edgecritic_export.onnx.precision import VisionPrecision
from edgecritic_export.onnx.vision import write_vision
from onnx_reference import Reference
from tiny_checkpoints import write_llava_onevision

TILES = np.random.default_rng(0).normal(size=(3, 3, 28, 28)).astype(np.float32)


def features(model: LlavaOnevisionForConditionalGeneration, layer: int) -> np.ndarray:
    """(tiles, patches, n_embd): each tile as one of several images, which have no grid."""
    with torch.no_grad():
        packed = model.get_image_features(
            pixel_values=torch.from_numpy(TILES),
            image_sizes=torch.tensor([[28, 28]] * len(TILES)),
            batch_num_images=torch.tensor([len(TILES)]),
            vision_feature_layer=layer,
        ).pooler_output
    return np.stack([image[:-1].numpy() for image in packed])


@pytest.fixture(scope="module")
def written(
    reference: Reference, tmp_path_factory: pytest.TempPathFactory
) -> dict[VisionPrecision, Path]:
    folder = tmp_path_factory.mktemp("vision")
    precisions: tuple[VisionPrecision, ...] = ("fp32", "fp16", "int8")
    targets = {precision: folder / f"{precision}.onnx" for precision in precisions}
    return {name: files[0] for name, files in write_vision(reference.checkpoint, targets).items()}


# Measured on features of deviation 1: 1e-6, 1e-3 and 0.02.
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("fp16", 5e-3), ("int8", 0.05)])
def test_features_are_those_of_transformers(
    reference: Reference,
    written: dict[VisionPrecision, Path],
    precision: VisionPrecision,
    limit: float,
) -> None:
    session = open_session(written[precision], n_threads=1)
    (pixels,), (output,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type) == ("pixel_values", "tensor(float)")
    assert pixels.shape == ["tiles", 3, 28, 28]
    assert (output.name, output.type) == ("image_features", "tensor(float)")
    assert output.shape == ["tiles", 16, 64]
    expected = features(reference.model, -1)
    for n_tiles in (1, 3):
        (found,) = session.run(None, {"pixel_values": TILES[:n_tiles]})
        error = np.sqrt(np.mean((found - expected[:n_tiles]) ** 2)) / expected.std()
        assert error < limit


def test_a_tower_written_by_hand_is_the_traced_one(reference: Reference, tmp_path: Path) -> None:
    write_checkpoint_mmproj(reference.checkpoint, tmp_path / "mmproj.gguf", float_type="F32")
    header = read_header(tmp_path / "mmproj.gguf")
    target = tmp_path / "tower.onnx"
    assert write_tower(GgufWeights(header), tower_shape(header), target, "fp32") == (target,)
    session = open_session(target, n_threads=1)
    assert session.get_outputs()[0].shape == ["tiles", 16, 64]
    for n_tiles in (1, 3):
        (found,) = session.run(None, {"pixel_values": TILES[:n_tiles]})
        expected = features(reference.model, -1)[:n_tiles]
        assert np.sqrt(np.mean((found - expected) ** 2)) < 1e-5 * expected.std()


def test_nothing_tells_of_the_machine_it_was_made_on(
    written: dict[VisionPrecision, Path],
) -> None:
    for path in written.values():
        assert str(Path.cwd()).encode() not in path.read_bytes()
        assert not any(node.metadata_props for node in onnx.load(path).graph.node)


def test_the_layer_of_the_checkpoint_counts(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path, seed=2)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -2}))
    with Checkpoint.open(tmp_path) as checkpoint:
        write_vision(checkpoint, {"fp32": tmp_path / "vision.onnx"})
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path)
    (found,) = open_session(tmp_path / "vision.onnx").run(None, {"pixel_values": TILES})
    np.testing.assert_allclose(found, features(model, -2), atol=1e-4)
    assert np.abs(found - features(model, -1)).max() > 0.1
