"""A checkpoint to bundles that the runtime judges with; runs that stop and go on."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic import ArtifactError, Critic, InputError
from edgecritic.gguf_header import read_header
from edgecritic_export.bundles import gguf as bundling
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.checkpoints.folder import Checkpoint
from tiny_checkpoints import write_llava_onevision
from told import Told

FACTS = CriticFacts("tiny", "1", "random", "Apache-2.0", n_ctx=512, bad_for=("everything",))
OPTIONS = GgufOptions(("F16", "Q8_0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("checkpoint")
    write_llava_onevision(made, text="qwen2")
    return made


@pytest.fixture
def checkpoint(folder):
    with Checkpoint.open(folder) as opened:
        yield opened


def test_every_type_becomes_a_bundle_that_judges(checkpoint, tmp_path):
    told = Told()
    bundles = export_gguf(checkpoint, tmp_path / "out", FACTS, OPTIONS, told)
    assert [bundle.folder.name for bundle in bundles] == ["F16", "Q8_0"]
    for bundle, quant in zip(bundles, OPTIONS.quants, strict=True):
        assert bundle.manifest.having("language_model")[0].quant == quant
        assert bundle.manifest.verified is None
        assert np.array_equal(bundle.image_newline(), checkpoint.image_newline)
        with Critic.load(bundle, device="cpu", threads=1) as critic:
            picture = Image.new("RGB", (60, 40), "red")
            assert critic.score(picture, "What?", "a 7", rationale=False).mass > 0
    towers = [tmp_path / "out" / quant / "mmproj-tiny-F16.gguf" for quant in OPTIONS.quants]
    assert os.path.samefile(*towers)
    assert not (tmp_path / "out" / ".work").exists()
    # The intermediate file, both language models and the tower, which the bundles share.
    assert [name for name, _, _ in told.steps] == [
        *("tiny-F16.gguf", "mmproj-tiny-F16.gguf", "tiny-F32.gguf", "tiny-Q8_0.gguf")
    ]
    for name, planned, written in told.steps:
        # A tiny file is for a good part header and vocabulary.
        assert planned < written < 2 * planned + 100_000, name


def test_a_second_run_does_nothing(checkpoint, tmp_path):
    export_gguf(checkpoint, tmp_path, FACTS, OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    told = Told()
    export_gguf(checkpoint, tmp_path, FACTS, OPTIONS, told)
    assert (told.lines, told.steps) == ([], [])
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_an_interrupted_run_goes_on_where_it_was(checkpoint, tmp_path, monkeypatch):
    real = bundling.quantize

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundling, "quantize", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_gguf(checkpoint, tmp_path, FACTS, OPTIONS)
    assert (tmp_path / "F16" / "critic.json").exists()
    whole = next((tmp_path / ".work").glob("*.gguf"))
    written = whole.stat().st_mtime_ns
    sources = []

    def seen(source: Path, *args, **kwargs):
        sources.append((source, source.stat().st_mtime_ns))
        return real(source, *args, **kwargs)

    monkeypatch.setattr(bundling, "quantize", seen)
    assert len(export_gguf(checkpoint, tmp_path, FACTS, OPTIONS)) == 2
    assert sources == [(whole, written)]


def test_a_folder_takes_one_checkpoint_only(checkpoint, tmp_path):
    export_gguf(checkpoint, tmp_path / "out", FACTS, GgufOptions(("F16",)))
    other = tmp_path / "other"
    write_llava_onevision(other, text="qwen2", seed=99)
    with (
        Checkpoint.open(other) as opened,
        pytest.raises(ArtifactError, match="export of another checkpoint"),
    ):
        export_gguf(opened, tmp_path / "out", FACTS, GgufOptions(("Q8_0",)))
    overrides = GgufOptions(("Q8_0",), overrides=(("ffn_down", "Q6_K"),))
    with pytest.raises(ArtifactError, match="export with other settings"):
        export_gguf(checkpoint, tmp_path / "out", FACTS, overrides)


def test_a_file_in_the_checkpoints_own_type_is_written_once(checkpoint, tmp_path):
    for name, quants in (("before", ("F32", "Q8_0")), ("behind", ("Q8_0", "F32"))):
        told = Told()
        export_gguf(checkpoint, tmp_path / name, FACTS, GgufOptions(quants), told)
        steps = [step for step, _, _ in told.steps]
        assert steps.count("tiny-F32.gguf") == 1, name
        whole = tmp_path / name / "F32" / "tiny-F32.gguf"
        assert whole.stat().st_nlink == 1, "the intermediate file is gone"


def test_a_tower_in_eight_bits(checkpoint, tmp_path):
    options = GgufOptions(("F16", "Q8_0"), tower="Q8_0")
    bundles = export_gguf(checkpoint, tmp_path / "out", FACTS, options)
    towers = [bundle.folder / bundle.manifest.having("mmproj")[0].path for bundle in bundles]
    assert [tower.name for tower in towers] == ["mmproj-tiny-Q8_0.gguf"] * 2
    assert os.path.samefile(*towers)
    types = {claim.type_name for claim in read_header(towers[0]).tensors.values()}
    assert "Q8_0" in types
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("F16", "Q8_0", "export.json")
    ]
    with Critic.load(bundles[0], device="cpu", threads=1) as critic:
        picture = Image.new("RGB", (60, 40), "red")
        assert critic.score(picture, "What?", "a 7", rationale=False).mass > 0
    with pytest.raises(InputError, match="'Q4_0'"):
        GgufOptions(tower="Q4_0")


def test_an_unknown_type_is_refused():
    with pytest.raises(InputError, match="quant type 'Q9_9'"):
        GgufOptions(("Q9_9",))
