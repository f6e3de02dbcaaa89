"""All bundles of one checkpoint: planned together, with an adapter apart, and as its own files."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from edgecritic import ArtifactError, Critic, InputError
from edgecritic.backends.options import EngineOptions
from edgecritic.locking import exclusive
from edgecritic_export.bundles.everything import ExportOptions, export_all
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions
from edgecritic_export.bundles.stages import gguf_stage, onnx_stage
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.options import OnnxOptions
from edgecritic_export.verify.bundles import VerifyOptions, verify_bundles
from tiny_adapters import write_adapter
from tiny_checkpoints import write_llava_onevision
from told import Told

FACTS = CriticFacts("tiny", "1", "random", "Apache-2.0", n_ctx=1024)
CPU = {"n_threads": 1, "device": "cpu"}


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
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(3)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)).save(folder / name)
    responses = [{"text": text, "reasons": ["It is a 7.", "A 4."]} for text in ("a 7", "a 4")]
    item = {"images": ["a.png", "b.png"], "question": "Which digit?", "responses": responses}
    (folder / "items.jsonl").write_text(json.dumps(item) + "\n")
    return folder


@pytest.fixture
def adapter(checkpoint, tmp_path):
    write_adapter(checkpoint.folder, tmp_path / "adapter")
    return tmp_path / "adapter"


def verify(rows, adapter=None):
    exact = EngineOptions(**CPU, flash_attention=False, cache_type="F32")
    return VerifyOptions(rows, 2, EngineOptions(**CPU, weights="fp32"), exact, adapter)


def test_a_disk_that_is_too_small_for_all_is_told_before_anything_is_written(
    checkpoint, tmp_path, monkeypatch
):
    gguf, onnx = GgufOptions(("F16", "Q8_0")), OnnxOptions(("fp32",))
    size = gguf_stage(checkpoint, "tiny", gguf).disk

    class Disk:
        free = size + (64 << 20) + 1000  # enough for the first format

    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk)
    with pytest.raises(ArtifactError, match="GB left"):
        export_all(checkpoint, tmp_path / "out", FACTS, ExportOptions(gguf, onnx), Told())
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_what_a_killed_run_left_is_removed_and_the_rest_is_kept(checkpoint, tmp_path):
    unfinished = tmp_path / "gguf" / "F32" / ".tiny-F32.gguf.4242"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half of a model")
    measuring = tmp_path / "onnx" / ".calibration-x.4242"
    measuring.mkdir(parents=True)
    (measuring / "eight.onnx").write_bytes(b"half of a decoder")
    kept = tmp_path / "gguf" / ".mine"
    kept.write_bytes(b"mine")
    export_all(checkpoint, tmp_path, FACTS, ExportOptions(GgufOptions(("F32",))), Told())
    assert not unfinished.exists()
    assert not measuring.exists()
    assert kept.exists()


def test_two_exports_to_one_folder_wait_for_each_other(checkpoint, tmp_path):
    options, told = ExportOptions(GgufOptions(("F32",))), Told()
    with ThreadPoolExecutor(1) as pool:
        with exclusive(tmp_path / ".lock"):
            other = pool.submit(export_all, checkpoint, tmp_path, FACTS, options, told)
            deadline = time.monotonic() + 60
            while not told.lines and time.monotonic() < deadline:
                time.sleep(0.01)
            assert "another export" in told.lines[0]
            assert not other.done()
        assert len(other.result()) == 1


def test_plans_come_near_the_files(checkpoint, tmp_path):
    gguf, onnx = GgufOptions(("F32",)), OnnxOptions(("fp32", "q4"), external=True)
    told = Told()
    export_all(checkpoint, tmp_path, FACTS, ExportOptions(gguf, onnx), told)
    plan = (gguf_stage(checkpoint, "tiny", gguf), onnx_stage(checkpoint, onnx, measured=False))
    for file in (file for stage in plan for file in stage.files):
        path = tmp_path / file.path
        size = sum(other.stat().st_size for other in path.parent.glob(f"{path.name}*"))
        # A tiny file is for a good part header and vocabulary.
        assert 0.8 * file.size < size < 2 * file.size + 100_000, file
    assert "GB  to stay" in told.lines[0]


def test_measuring_the_layers_needs_more_room(checkpoint):
    plain, measured = (
        onnx_stage(checkpoint, OnnxOptions(("q4",)), measured=asked) for asked in (False, True)
    )
    assert measured.kept == plain.kept
    assert measured.disk > 2 * plain.disk


def test_the_checkpoint_itself_is_a_bundle(checkpoint, folder, rows, tmp_path):
    options = ExportOptions(hf=True, verify=verify(rows))
    (bundle,) = export_all(checkpoint, tmp_path, FACTS, options, Told())
    assert bundle.manifest.formats == ("hf",)
    assert bundle.manifest.having("checkpoint")[0].quant == "F32"  # sets the limits
    assert bundle.manifest.verified is True
    assert os.path.samefile(bundle.folder / "model.safetensors", folder / "model.safetensors")
    with Critic.load(bundle, device="cpu", threads=1) as critic:
        picture = Image.new("RGB", (60, 40), "red")
        assert critic.score(picture, "What?", "a 7", rationale=False).mass > 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    told = Told()
    export_all(checkpoint, tmp_path, FACTS, options, told)
    assert told.lines == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_stays_apart(checkpoint, adapter, rows, tmp_path):
    options = ExportOptions(GgufOptions(("F32",)), hf=True, adapter=adapter)
    out = tmp_path / "out"
    bundles = export_all(checkpoint, out, FACTS, options, Told())
    roles = [{file.role for file in bundle.manifest.files} for bundle in bundles]
    assert "adapter" in roles[0]
    assert (out / "hf" / "adapter" / "adapter_model.safetensors").exists()
    told = Told()
    found = verify_bundles(bundles, checkpoint, verify(rows, adapter), told)
    assert [one.passed for one in found] == [True, True], found
    # Against the checkpoint alone both are wrong: the adapter is really applied.
    found = verify_bundles(bundles, checkpoint, verify(rows), told)
    assert [one.passed for one in found] == [False, False]
    with pytest.raises(ArtifactError, match="export with other settings"):
        export_all(checkpoint, out, FACTS, ExportOptions(hf=True), Told())


def test_onnx_takes_no_adapter(adapter):
    with pytest.raises(InputError, match="no adapter of their own"):
        ExportOptions(onnx=OnnxOptions(("fp32",)), adapter=adapter)
    with pytest.raises(InputError, match="nothing is asked for"):
        ExportOptions()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
    ],
)
def test_an_adapter_that_cannot_stay_apart_is_refused_at_once(
    checkpoint, adapter, tmp_path, change, message
):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    options = ExportOptions(GgufOptions(("F32",)), adapter=adapter)
    with pytest.raises(ArtifactError, match=message):
        export_all(checkpoint, tmp_path / "out", FACTS, options, Told())
    assert not (tmp_path / "out").exists()
