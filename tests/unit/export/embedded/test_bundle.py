"""A run's files to the embedded bundle, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgecritic import ArtifactError, Bundle
from edgecritic.bundle import describe_file
from edgecritic.gguf_header import read_header
from edgecritic.models import SMOLLM2_135M
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_export.cli import main
from edgecritic_export.embedded import bundle as embedded
from edgecritic_export.embedded.bundle import MAX_BYTES, EmbeddedOptions, export_embedded
from edgecritic_export.embedded.run import TrainedCritic
from edgecritic_train.embedded.config import PATCH, LoraShape, TowerShape, embedded_geometry

GEOMETRY = ImageGeometry(tile_size=48, patch_size=16, pinpoints=((48, 48),))
TOWER = {"width": 16, "layers": 2, "heads": 2, "mlp": 24}
LORA = {"rank": 4, "alpha": 8}


def summary(language_model):
    return {
        "config": {"tower": TOWER, "lora": LORA},
        "dialect": load_dialect().identity,
        "image": GEOMETRY.to_dict(),
        "language_model": language_model.name,
        "language_model_sha256": describe_file("language_model", language_model).sha256,
        "stages": {"sft": {"step": 7}},
        "date": "2026-11-23",
    }


def random_weights(critic, header):
    """Weights of exactly the shapes that the exporter asks for."""
    rng = np.random.default_rng(0)
    shapes = critic.expected_shapes(header)
    return {
        name: (0.1 * rng.standard_normal(shape)).astype(np.float16)
        for name, shape in shapes.items()
    }


@pytest.fixture
def run(tiny_models, tmp_path):
    """A folder as a training run leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "training.json").write_text(json.dumps(summary(tiny_models.language_model)))
    save_file({}, folder / "critic.safetensors")
    critic = TrainedCritic.read(folder)
    weights = random_weights(critic, read_header(tiny_models.language_model))
    save_file(weights, folder / "critic.safetensors")
    return folder


def change(run, **changes):
    path = run / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def exported(run, tiny_models, **options):
    out = run.parent / "bundle"
    return export_embedded(run, tiny_models.language_model, out, EmbeddedOptions("1.0", **options))


def test_the_bundle_says_what_it_is(run, tiny_models):
    bundle = Bundle.read(exported(run, tiny_models).folder)
    manifest = bundle.manifest
    assert bundle.name == "edgecritic-embedded-1.0"
    assert (manifest.rubric.low, manifest.rubric.high, manifest.n_ctx) == (1, 10, 4096)
    assert manifest.image == GEOMETRY
    assert manifest.dialect.digest == load_dialect().digest
    assert {file.role: file.quant for file in manifest.files} == {
        "language_model": "",
        "adapter": "F16",
        "mmproj": "F16",
        "image_newline": "",
    }
    assert manifest.training["stages"] == {"sft": {"step": 7}}
    assert "CC-BY-4.0" in manifest.training["data_licences"]
    assert "photographs" in manifest.bad_for
    assert manifest.created == "2026-11-23"
    for file in manifest.files:
        assert bundle.verified(file).stat().st_size == file.size


def test_newline_and_numbers_are_those_of_the_run(run, tiny_models):
    bundle = exported(run, tiny_models)
    newline = TrainedCritic.read(run).tensors["newline"]
    assert np.array_equal(bundle.image_newline(), newline.astype(np.float32))
    adapter = read_header(bundle.file("adapter"))
    assert adapter.number("adapter.lora.alpha", 0, 99) == LORA["alpha"]
    assert adapter.tensor("blk.1.ffn_down.weight.lora_a").shape == (96, LORA["rank"])
    mmproj = read_header(bundle.file("mmproj"))
    assert mmproj.count("clip.vision.block_count") == TOWER["layers"]
    assert mmproj.count("clip.vision.feed_forward_length") == TOWER["mlp"]


def test_the_pinned_language_model_is_named_and_not_copied(run, tiny_models, monkeypatch):
    pinned = describe_file("language_model", tiny_models.language_model)
    external = SMOLLM2_135M.__class__(
        "language_model", pinned.path, pinned.sha256, pinned.size, "Q4_1", True,
        SMOLLM2_135M.sources,
    )  # fmt: skip
    monkeypatch.setattr(embedded, "SMOLLM2_135M", external)
    bundle = exported(run, tiny_models)
    assert bundle.manifest.having("language_model") == (external,)
    assert not (bundle.folder / pinned.path).exists()
    assert bundle.manifest.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_calibration_comes_from_its_file(run, tiny_models, tmp_path):
    fitted = {
        "pointwise_temperature": 1.5,
        "pairwise_temperature": 0.75,
        "tie_margin": 0.25,
        "noise": 0.125,
    }
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({**fitted, "pointwise_rows": 100}))
    calibration = exported(run, tiny_models, calibration=path).manifest.calibration
    assert (calibration.pointwise_temperature, calibration.tie_margin) == (1.5, 0.25)
    assert calibration.noise == 0.125
    path.write_text("[]")
    with pytest.raises(ArtifactError, match="holds no calibration"):
        exported(run, tiny_models, calibration=path)


@pytest.mark.parametrize(
    ("name", "weight", "said"),
    [
        ("newline", None, "newline is missing"),
        ("lora.layers/1/mlp/up_proj/B", None, "up_proj/B is missing"),
        ("tower.post_layernorm.bias", None, "post_layernorm.bias is missing"),
        ("tower.encoder.layers.2.layer_norm1.bias", np.zeros(16), "no part of the critic"),
        ("lora.layers/2/mlp/up_proj/B", np.zeros((96, 4)), "no part of the critic"),
        ("head.weight", np.zeros(3), "no part of the critic"),
        ("lora.layers/0/mlp/up_proj/A", np.zeros((8, 64)), r"is \(8, 64\), .* \(4, 64\)"),
        ("tower.embeddings.position_embedding.weight", np.zeros((4, 16)), r"\(9, 16\)"),
    ],
)
def test_a_checkpoint_of_other_weights_is_refused(run, tiny_models, name, weight, said):
    tensors = dict(TrainedCritic.read(run).tensors)
    tensors.pop(name, None)
    if weight is not None:
        tensors[name] = weight.astype(np.float16)
    save_file(tensors, run / "critic.safetensors")
    with pytest.raises(ArtifactError, match=said):
        exported(run, tiny_models)
    assert not (run.parent / "bundle").exists()


def test_other_prompts_are_refused(run, tiny_models):
    change(run, dialect="edgecritic-v1@0123456789ab")
    with pytest.raises(ArtifactError, match=r"prompts edgecritic-v1@0123456789ab, installed is"):
        exported(run, tiny_models)


def test_another_language_model_is_refused(run, tiny_models):
    change(run, language_model_sha256="0" * 64)
    with pytest.raises(ArtifactError, match="was trained over 000000000000"):
        exported(run, tiny_models)


def test_a_bundle_that_is_too_large_is_refused(run, tiny_models, monkeypatch):
    monkeypatch.setattr(embedded, "MAX_BYTES", 1000)
    with pytest.raises(ArtifactError, match=r"adapter\.gguf [\d,]+, .* more than 1,000"):
        exported(run, tiny_models)


@pytest.mark.parametrize("damage", ["no summary", "no weights", "torn weights", "no image"])
def test_a_run_that_is_not_finished_is_refused(run, tiny_models, damage):
    if damage == "no summary":
        (run / "training.json").unlink()
    elif damage == "no weights":
        (run / "critic.safetensors").unlink()
    elif damage == "torn weights":
        weights = (run / "critic.safetensors").read_bytes()
        (run / "critic.safetensors").write_bytes(weights[:200])
    else:
        change(run, image=None)
    with pytest.raises(ArtifactError, match=str(run)) as caught:
        exported(run, tiny_models)
    assert "edgecritic train embedded" in caught.value.hint


def test_the_command_prints_sizes(run, tiny_models, tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["embedded", run, "--language-model", tiny_models.language_model, "--out", out]
    assert main([*map(str, asked), "--version", "2"]) == 0
    said = capsys.readouterr().out
    sizes = {path.name: path.stat().st_size for path in out.iterdir() if path.suffix != ".json"}
    for name, size in sizes.items():
        assert f"{size:,}  {name}" in said
    assert f"{sum(sizes.values()):,}  edgecritic-embedded-2" in said


def test_argparse_ends_the_command_as_the_runtime_expects_it():
    assert main(["embedded"]) == 2
    assert main(["embedded", "--help"]) == 0


def test_the_shapes_that_are_trained_fit_the_package():
    """Exact sizes of both GGUF files for the default configuration, from their layout.

    A tensor takes its bytes, rounded up to 32; 200 bytes more hold its name and shape, and 2 kB
    all other metadata.
    """
    tower, rank = TowerShape(), LoraShape().rank
    n_embd, n_kv, n_ff, n_layers = 576, 192, 1536, 30  # SmolLM2-135M
    width, patches = tower.width, embedded_geometry().patches_per_side ** 2
    pairs = [(n_embd, n_embd)] * 2 + [(n_embd, n_kv)] * 2 + [(n_embd, n_ff)] * 2 + [(n_ff, n_embd)]
    adapter = n_layers * sum(2 * rank * (n_in + n_out) for n_in, n_out in pairs)
    block = 2 * (4 * width**2 + 2 * width * tower.mlp) + 4 * (9 * width + tower.mlp)
    projector = 2 * (n_embd * width + n_embd**2) + 4 * 2 * n_embd
    patch = 2 * width * 3 * PATCH**2 + 4 * width
    mmproj = tower.layers * block + projector + patch + 4 * patches * width + 4 * n_embd
    n_tensors = 2 * 7 * n_layers + 16 * tower.layers + 8
    newline = 128 + 4 * n_embd
    assert rank % 32 == 0  # llama.cpp's fast kernels
    assert adapter + mmproj + newline + 200 * n_tensors + 2 * 2048 < MAX_BYTES
