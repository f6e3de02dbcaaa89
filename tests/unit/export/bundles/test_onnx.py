"""A checkpoint to ONNX bundles, the four-bit one rounded by what the critic reads."""

import json

import numpy as np
import pytest
from PIL import Image

from edgecritic import ArtifactError, Critic, InputError
from edgecritic_export.bundles import onnx as bundling
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.onnx import LayerCalibration, export_onnx_bundles
from edgecritic_export.card import model_card
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.calibrate import read_choice, write_choice
from edgecritic_export.onnx.options import LayerChoice, OnnxOptions, QuantizationLimits
from edgecritic_export.onnx.quantize import usual_eight_bit
from tiny_checkpoints import write_llava_onevision
from told import Told

FACTS = CriticFacts("tiny", "1", "random", "Apache-2.0", n_ctx=1024)
Q4 = OnnxOptions(("q4",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("checkpoint")
    write_llava_onevision(made)
    return made


@pytest.fixture
def checkpoint(folder):
    with Checkpoint.open(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    rng = np.random.default_rng(7)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)).save(folder / name)
    responses = [{"text": "a cat", "scores": [9, 1]}, {"text": "a dog", "scores": [1, 9]}]
    item = {"question": "What?", "images": ["a.png", "b.png"], "responses": responses}
    lines = [json.dumps({"id": str(number), **item}) for number in range(3)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def calibration(items, **changes):
    # Half of the two layers may stay at eight bits, and no divergence is small enough.
    limits = QuantizationLimits(max_kl=0.0, max_eight_bit=0.5, n_threads=1)
    return LayerCalibration(items, **{"limit": 3, "limits": limits, **changes})


def test_with_items_the_layers_are_measured(checkpoint, items, tmp_path):
    told = Told()
    (bundle,) = export_onnx_bundles(
        checkpoint, tmp_path, FACTS, Q4, calibration=calibration(items), progress=told
    )
    said = bundle.manifest.rounding
    assert said["chosen"] == "measured on 3 judgements with pictures, of " + items.name
    assert len(said["kl_of_each_layer_alone"]) == 2
    worst = int(np.argmax(said["kl_of_each_layer_alone"]))
    assert said["eight_bit_layers"] == [worst]
    assert said["kl_to_eight_bits"] > 0
    assert "measured on 3 judgements" in model_card(bundle.manifest)
    assert "1 of 2 layers stay at eight bits" in told.lines
    # What helped to measure is gone.
    assert sorted(path.name for path in (tmp_path / "onnx").glob("*.onnx")) == [
        "decoder_model_merged_q4.onnx",
        "embed_tokens_fp16.onnx",
        "vision_encoder_fp16.onnx",
    ]
    assert [path.name for path in (tmp_path / "variants").iterdir()] == ["q4"]
    assert not list(tmp_path.rglob(".*"))
    with Critic.load(bundle, device="cpu", threads=1) as critic:
        picture = Image.new("RGB", (60, 40), "red")
        assert critic.score(picture, "What?", "a 7", rationale=False).mass > 0


def test_without_items_the_usual_layers_are_taken(checkpoint, tmp_path):
    (bundle,) = export_onnx_bundles(checkpoint, tmp_path, FACTS, Q4)
    assert bundle.manifest.rounding == {
        "eight_bit_layers": list(usual_eight_bit(2)),
        "chosen": "the outer layers and every third: nothing was measured",
    }


def test_what_was_asked_for_is_kept_and_other_variants_say_nothing(checkpoint, items, tmp_path):
    options = OnnxOptions(("q8", "q4"))
    bundles = export_onnx_bundles(
        checkpoint, tmp_path, FACTS, options, calibration=calibration(items)
    )
    assert [bundle.folder.name for bundle in bundles] == ["q8", "q4"]
    assert [bundle.manifest.rounding is None for bundle in bundles] == [True, False]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["transformers.js_config"]["dtype"]["decoder_model_merged"] == "q4"
    assert (tmp_path / "onnx" / "decoder_model_merged_quantized.onnx").exists()
    # A further variant is added; those that are there stay as they are.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "onnx").iterdir()}
    more = OnnxOptions(("fp16", "q8", "q4"))
    export_onnx_bundles(checkpoint, tmp_path, FACTS, more, calibration=calibration(items))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["transformers.js_config"]["dtype"]["decoder_model_merged"] == "q4"


def test_a_second_run_does_nothing(checkpoint, items, tmp_path):
    for _ in range(2):
        told = Told()
        export_onnx_bundles(
            checkpoint, tmp_path, FACTS, Q4, calibration=calibration(items), progress=told
        )
    assert (told.lines, told.steps) == ([], [])


def test_an_interrupted_run_does_not_measure_again(checkpoint, items, tmp_path, monkeypatch):
    real = bundling.export_onnx

    def stopped(checkpoint, out, described, options, progress, *, keep):
        if options.variants == ("q4",):
            raise KeyboardInterrupt
        return real(checkpoint, out, described, options, progress, keep=keep)

    monkeypatch.setattr(bundling, "export_onnx", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_onnx_bundles(checkpoint, tmp_path, FACTS, Q4, calibration=calibration(items))
    monkeypatch.undo()
    monkeypatch.delattr(bundling, "calibrate")
    (bundle,) = export_onnx_bundles(checkpoint, tmp_path, FACTS, Q4, calibration=calibration(items))
    assert bundle.manifest.rounding["chosen"].startswith("measured on 3 judgements")
    assert [path.name for path in (tmp_path / "variants").iterdir()] == ["q4"]


def test_a_folder_takes_one_export_only(checkpoint, items, tmp_path):
    export_onnx_bundles(checkpoint, tmp_path / "out", FACTS, Q4)
    with pytest.raises(ArtifactError, match="export with other settings"):
        export_onnx_bundles(checkpoint, tmp_path / "out", FACTS, Q4, calibration=calibration(items))
    write_llava_onevision(tmp_path / "other", seed=9)
    with (
        Checkpoint.open(tmp_path / "other") as other,
        pytest.raises(ArtifactError, match="export of another checkpoint"),
    ):
        export_onnx_bundles(other, tmp_path / "out", FACTS, Q4)


def test_items_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"holds no items\.jsonl"):
        LayerCalibration(tmp_path)


def test_a_choice_comes_back_from_its_file(tmp_path):
    importance = {"model.layers.0.mlp.down_proj": np.arange(4, dtype=np.float32)}
    choice = LayerChoice((0.5, 0.25), (0,), 0.125, importance, "4 rows")
    write_choice(choice, tmp_path / "choice.npz")
    found = read_choice(tmp_path / "choice.npz")
    assert found.importance.keys() == importance.keys()
    for name, means in importance.items():
        np.testing.assert_array_equal(found.importance[name], means)
    for part in ("alone", "eight_bit", "kl", "measured_on"):
        assert getattr(found, part) == getattr(choice, part)
