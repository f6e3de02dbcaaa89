"""Bundles are verified against the checkpoint that transformers runs."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from edgecritic import Bundle, Critic
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import describe_file, write_bundle
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.verify.bundles import VerifyOptions, verify_bundles
from tiny_checkpoints import write_llava_onevision

FACTS = CriticFacts("tiny", "1", "random", "Apache-2.0", n_ctx=1024)
CPU = {"n_threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(3)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)).save(folder / name)
    responses = [{"text": text, "reasons": ["It is a 7.", "A 4."]} for text in ("a 7", "a 4")]
    item = {"images": ["a.png", "b.png"], "question": "Which digit?", "responses": responses}
    (folder / "items.jsonl").write_text(json.dumps(item) + "\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_llava_onevision(folder, text="qwen2")
    with Checkpoint.open(folder) as opened:
        yield opened


def options(rows):
    return VerifyOptions(
        rows,
        reference=EngineOptions(**CPU, weights="fp32"),
        export=EngineOptions(**CPU, flash_attention=False, cache_type="F32"),
    )


def test_a_faithful_export_is_verified_in_manifest_and_card(checkpoint, rows, tmp_path):
    bundles = export_gguf(checkpoint, tmp_path, FACTS, GgufOptions(("F32",)))
    told = []
    (found,) = verify_bundles(bundles, checkpoint, options(rows), told.append)
    assert found.passed, found
    written = Bundle.read(tmp_path / "F32")
    assert written.manifest.verified is True
    assert "llama" in written.manifest.verification["engine"]
    assert "It passed all checks" in (tmp_path / "F32" / "README.md").read_text()
    assert told[-1] == "F32: verified"


def test_an_export_without_its_newline_is_kept_and_marked(checkpoint, rows, tmp_path, caplog):
    (bundle,) = export_gguf(checkpoint, tmp_path, FACTS, GgufOptions(("F32",)))
    separator = bundle.folder / "image_newline.npy"
    np.save(separator, np.zeros_like(checkpoint.image_newline))
    files = tuple(
        describe_file("image_newline", separator) if file.role == "image_newline" else file
        for file in bundle.manifest.files
    )
    sources = {file.path: bundle.folder / file.path for file in files}
    wrong = write_bundle(bundle.folder, FACTS.manifest(checkpoint, files), sources)
    (found,) = verify_bundles([wrong], checkpoint, options(rows), lambda line: None)
    assert not found.passed
    assert Bundle.read(bundle.folder).manifest.verified is False
    assert "**It failed" in (bundle.folder / "README.md").read_text()
    with caplog.at_level(logging.WARNING, "edgecritic"):
        Critic.load(bundle.folder, device="cpu", threads=1).close()
    assert "failed the checks of its export" in caplog.text
