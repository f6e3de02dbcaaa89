"""The card says what the manifest says."""

import json
from dataclasses import replace

import pytest

from edgecritic.manifest import BundleFile, Calibration, DialectRef, Manifest
from edgecritic.task import Rubric
from edgecritic.vision import ImageGeometry
from edgecritic_export.card import model_card, write_card

GEOMETRY = ImageGeometry(28, 7, ((28, 28),))
CHECKS = [
    {"name": "verdicts, same winner", "value": 0.875, "limit": ">= 0.9", "passed": False},
    {"name": "finite numbers only", "value": True, "limit": "all", "passed": True},
]


@pytest.fixture
def manifest():
    files = (
        BundleFile("language_model", "model-Q4_K_M.gguf", "a" * 64, 4_360_000_000, "Q4_K_M"),
        BundleFile("mmproj", "mmproj-F16.gguf", "b" * 64, 860_000_000, "F16"),
        BundleFile("image_newline", "newline.npy", "c" * 64, 14_336),
    )
    return Manifest(
        name="critic-7b", version="1.0", family="llava_onevision", files=files,
        base_model="lmms-lab/llava-critic-7b", dialect=DialectRef("edgecritic-v1", "d" * 64),
        rubric=Rubric(1, 10), n_ctx=16_384, image=GEOMETRY, calibration=Calibration(),
        licence="Apache-2.0", training={"data": "113k"},
        verification={"passed": False, "rows": 40, "checks": CHECKS},
        good_for=("photographs",), bad_for=("medicine",), created="2026-11-24",
    )  # fmt: skip


def test_the_metadata_is_what_a_hub_reads(manifest):
    _, metadata, text = model_card(manifest).split("---\n", 2)
    facts = {key: json.loads(value) for key, value in
             (line.split(": ", 1) for line in metadata.splitlines())}  # fmt: skip
    assert facts["license"] == "apache-2.0"
    assert facts["base_model"] == "lmms-lab/llava-critic-7b"
    assert facts["library_name"] == "gguf"
    assert facts["pipeline_tag"] == "image-text-to-text"
    assert "gguf" in facts["tags"]
    assert text.startswith("\n# critic-7b 1.0\n")


def test_files_checks_and_limits_are_listed(manifest):
    card = model_card(manifest)
    assert "| `model-Q4_K_M.gguf` | language_model | Q4_K_M | 4,360.0 |" in card
    assert "**It failed at least one check**, on 40 pairs." in card
    assert "| verdicts, same winner | 0.875 | >= 0.9 | **fail** |" in card
    assert "| finite numbers only | yes | all | pass |" in card
    assert "- photographs" in card
    assert "Not for:\n\n- medicine" in card
    assert '"data": "113k"' in card


def test_a_critic_that_was_not_checked_says_so(manifest):
    assert "was not checked" in model_card(replace(manifest, verification=None))


def test_licences_of_base_and_data_are_told(manifest):
    card = model_card(manifest)
    assert "- Licence of these files: Apache-2.0" in card
    assert "- Licence of the base model: not stated here" in card
    assert "- Licences of the training data: not stated" in card
    stated = {"base_licence": "Apache-2.0", "data_licences": "CC-BY-4.0, MIT"}
    card = model_card(replace(manifest, training=stated))
    assert "- Licence of the base model: Apache-2.0" in card
    assert "- Licences of the training data: CC-BY-4.0, MIT" in card


def test_a_critic_of_text_is_no_vision_model(manifest):
    text_only = replace(manifest, files=manifest.files[:1], image=None)
    assert 'pipeline_tag: "text-generation"' in model_card(text_only)


def test_the_card_lies_in_the_folder(manifest, tmp_path):
    assert write_card(tmp_path, manifest).read_text(encoding="utf-8") == model_card(manifest)
