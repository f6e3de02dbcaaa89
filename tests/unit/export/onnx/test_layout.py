"""The written folder: transformers.js' layout outside, verified bundles inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np
import pytest
import torch
from PIL import Image

from edgecritic import ArtifactError, Bundle, InputError
from edgecritic.backends import load_backend
from edgecritic.backends.base import Append, TextSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.calibrate import calibrate
from edgecritic_export.onnx.layout import OnnxOptions, export_onnx
from edgecritic_export.onnx.options import QuantizationLimits
from edgecritic_export.onnx.precision import Variant
from edgecritic_export.onnx.settings import write_settings
from onnx_reference import Reference, described
from tiny_checkpoints import write_llava_onevision

# Tied weights in bfloat16; the parts are tested on both.
on_llama = pytest.mark.parametrize("reference", ["llama"], indirect=True)
PICTURE = Image.fromarray(
    np.random.default_rng(3).integers(0, 256, size=(40, 70, 3), dtype=np.uint8)
)


@pytest.fixture(scope="module")
def folder(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def bundles(reference: Reference, folder: Path) -> Mapping[Variant, Bundle]:
    return export_onnx(reference.checkpoint, folder, described())


@on_llama
def test_graphs_have_the_names_that_transformers_js_looks_for(
    bundles: Mapping[Variant, Bundle], folder: Path
) -> None:
    graphs = [
        "decoder_model_merged.onnx",
        "decoder_model_merged_fp16.onnx",
        "decoder_model_merged_q4.onnx",
        "decoder_model_merged_quantized.onnx",
        "embed_tokens.onnx",
        "embed_tokens_fp16.onnx",
        "vision_encoder.onnx",
        "vision_encoder_fp16.onnx",
    ]
    written = {path.name for path in (folder / "onnx").iterdir()}
    assert written == {*graphs, *(f"{name}_data" for name in graphs)}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llava_onevision"
    assert config["transformers.js_config"] == {
        "dtype": {
            "decoder_model_merged": "q4",
            "embed_tokens": "fp16",
            "vision_encoder": "fp16",
        },
        "use_external_data_format": dict.fromkeys(graphs, 1),
    }
    processor = json.loads((folder / "processor_config.json").read_text())
    assert processor["image_token"] == "<image>"
    assert (processor["patch_size"], processor["num_additional_image_tokens"]) == (7, 0)


@on_llama
def test_each_variant_is_a_bundle_that_shares_its_files(
    bundles: Mapping[Variant, Bundle], folder: Path, reference: Reference
) -> None:
    assert list(bundles) == ["fp32", "fp16", "q8", "q4"]
    for variant, bundle in bundles.items():
        assert bundle.folder == folder / "variants" / variant
        assert bundle.manifest.formats == ("onnx",)
        assert bundle.manifest.image == reference.checkpoint.geometry
        for file in bundle.manifest.files:
            path = bundle.verified(file)
            if file.path != "config.json":
                assert path.samefile(folder / file.path)
        decoder = bundle.file("decoder").name
        config = json.loads((bundle.folder / "config.json").read_text())
        dtype = config["transformers.js_config"]["dtype"]["decoder_model_merged"]
        suffix = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4"}[dtype]
        assert decoder == f"decoder_model_merged{suffix}.onnx"
        assert dtype == variant


@on_llama
def test_nothing_unfinished_is_left_behind(bundles: Mapping[Variant, Bundle], folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


@on_llama
def test_the_runtime_computes_what_transformers_computes(
    bundles: Mapping[Variant, Bundle], reference: Reference
) -> None:
    backend = load_backend(bundles["fp32"], "onnx", EngineOptions(n_ctx=1024, n_threads=1))
    try:
        profile = CriticProfile.of(bundles["fp32"], "onnx")
        (image,) = PictureEncoder(backend, profile.vision).spans(PICTURE)
        text = TextSpan(tuple(range(30, 50)))
        (found,) = backend.append([Append(backend.open_sequence(), (text, image, text))])
    finally:
        backend.close()
    embedded = reference.embeddings(np.array([text.tokens]))[0]
    expected = reference.logits(np.concatenate((embedded, features(reference), embedded))[None])
    assert found is not None
    np.testing.assert_allclose(found, expected[0, -1], atol=2e-4)


def features(reference: Reference) -> np.ndarray:
    """(n_tokens, n_embd): the picture through transformers' own processor and packing."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(reference.checkpoint.folder, backend="pil")
    inputs = processor(PICTURE, return_tensors="pt")
    with torch.no_grad():
        (packed,) = reference.model.get_image_features(**inputs).pooler_output
    return packed.numpy()


@on_llama
def test_weights_lie_in_files_of_their_own_which_are_listed(
    tmp_path: Path, reference: Reference
) -> None:
    options = OnnxOptions(variants=("q8",), vision="int8")
    bundle = export_onnx(reference.checkpoint, tmp_path, described(), options)["q8"]
    assert [file.path for file in bundle.manifest.having("external_data")] == [
        "onnx/decoder_model_merged_quantized.onnx_data",
        "onnx/embed_tokens_fp16.onnx_data",
        "onnx/vision_encoder_quantized.onnx_data",
    ]
    for folder in (tmp_path, bundle.folder):
        config = json.loads((folder / "config.json").read_text())
        assert config["transformers.js_config"]["use_external_data_format"] == {
            "decoder_model_merged_quantized.onnx": 1,
            "embed_tokens_fp16.onnx": 1,
            "vision_encoder_quantized.onnx": 1,
        }
    load_backend(bundle, "onnx", EngineOptions(n_ctx=1024, n_threads=1)).close()


@on_llama
def test_weights_lie_inside_where_that_is_asked_for(tmp_path: Path, reference: Reference) -> None:
    options = OnnxOptions(variants=("q8",), external=False)
    bundle = export_onnx(reference.checkpoint, tmp_path, described(), options)["q8"]
    assert not bundle.manifest.having("external_data")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["transformers.js_config"]["use_external_data_format"] == {}
    load_backend(bundle, "onnx", EngineOptions(n_ctx=1024, n_threads=1)).close()


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    options = OnnxOptions(variants=("q8",))
    digests = []
    for seed in (1, 2):
        write_llava_onevision(tmp_path / str(seed), seed=seed)
        with Checkpoint.open(tmp_path / str(seed)) as checkpoint:
            bundle = export_onnx(checkpoint, tmp_path / "out", described(), options)["q8"]
        digests.append(Bundle.read(bundle.folder).manifest.having("external_data")[0].sha256)
        bundle.files("decoder", "external_data")
    assert digests[0] != digests[1]


@on_llama
def test_the_four_bit_variant_is_calibrated_on_items(
    bundles: Mapping[Variant, Bundle], reference: Reference, tmp_path: Path
) -> None:
    write_items(tmp_path / "items")
    choice = calibrate(
        reference.checkpoint,
        bundles["q8"],
        tmp_path / "items",
        tmp_path,
        limits=QuantizationLimits(max_kl=0.0, max_eight_bit=0.5, n_threads=1),
    )
    assert len(choice.eight_bit) == 1
    assert choice.kl > 0
    options = OnnxOptions(variants=("q4",), choice=choice)
    calibrated = export_onnx(reference.checkpoint, tmp_path / "out", described(), options)["q4"]
    load_backend(calibrated, "onnx", EngineOptions(n_ctx=1024, n_threads=1)).close()
    plain = bundles["q4"].file("decoder").read_bytes()
    assert calibrated.file("decoder").read_bytes() != plain


def write_items(folder: Path) -> None:
    """Three items as the data engine writes them."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(3):
        names = [f"images/{number}-{side}.png" for side in "ab"]
        for name in names:
            PICTURE.rotate(30 * number).save(folder / name)
        answers = [("It is a cat.", [9, 1]), ("It is a dog.", [1, 9])]
        responses = [{"text": text, "scores": scores} for text, scores in answers]
        item = {"id": str(number), "question": "What?", "images": names, "responses": responses}
        lines.append(json.dumps(item))
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")


def test_settings_are_kept_and_completed(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "tokenizer_config.json"
    # transformers writes this number where a tokenizer knows no limit
    settings = {**json.loads(path.read_text()), "model_max_length": 10**30}
    path.write_text(json.dumps(settings))
    with Checkpoint.open(tmp_path / "checkpoint") as checkpoint:
        tokenizer, *_ = write_settings(checkpoint, load_dialect(), tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert tokenizer.name == "tokenizer.json"
    assert written["model_max_length"] == 10**30
    parts = [{"type": "image"}, {"type": "text", "text": "\nWhat?"}]
    messages = [{"role": "system", "content": "Judge."}, {"role": "user", "content": parts}]
    template = jinja2.Template(written["chat_template"])
    assert template.render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>system\nJudge.<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    )
    (tmp_path / "checkpoint" / "chat_template.jinja").write_text("{{ messages }}")
    with Checkpoint.open(tmp_path / "checkpoint") as checkpoint:
        write_settings(checkpoint, load_dialect(), tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["chat_template"] == "{{ messages }}"


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(InputError, match="q3"):
        OnnxOptions(variants=("q3",))
    with pytest.raises(InputError):
        OnnxOptions(variants=())


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tokenizer.json").unlink()
    with (
        Checkpoint.open(tmp_path / "checkpoint") as checkpoint,
        pytest.raises(ArtifactError, match=r"tokenizer\.json"),
    ):
        export_onnx(checkpoint, tmp_path / "out", described(), OnnxOptions(variants=("q8",)))
