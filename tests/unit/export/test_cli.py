"""``edgecritic export`` from its command line, on tiny checkpoints."""

import json

import numpy as np
import pytest
from PIL import Image

from edgecritic import Bundle
from edgecritic.cli import main
from edgecritic_export.checkpoints.folder import Checkpoint
from tiny_checkpoints import write_llava_onevision


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "critic-mini"
    folder.mkdir()
    write_llava_onevision(folder, text="qwen2")
    return folder


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
def run(capsys):
    def call(*arguments):
        status = main(["export", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


ENGINE = ("--threads", 1, "--device", "cpu")


def test_all_writes_bundles_of_both_formats_and_verifies_them(run, checkpoint, rows, tmp_path):
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"licence": "MIT", "rubric": {"low": 1, "high": 5}}))
    arguments = ("all", checkpoint, "--out", tmp_path / "out", "--quants", "F32", "--onnx", "fp32")
    status, out, err = run(*arguments, "--facts", facts, "--rows", rows, *ENGINE)
    assert status == 0, out + err
    assert [line.split()[2] for line in out.splitlines()] == ["verified", "verified"]
    gguf = Bundle.read(tmp_path / "out" / "gguf" / "F32").manifest
    onnx = Bundle.read(tmp_path / "out" / "onnx" / "variants" / "fp32").manifest
    assert (gguf.name, gguf.licence, gguf.rubric.high) == ("critic-mini", "MIT", 5)
    assert (gguf.formats, onnx.formats) == (("gguf",), ("onnx",))
    assert "of memory at most" in err
    status, again, err = run(*arguments, "--facts", facts, "--rows", rows, *ENGINE)
    assert (status, again) == (0, out)
    assert "writing" not in err


def test_verify_tells_what_an_export_is_worth(run, checkpoint, rows, tmp_path):
    run("all", checkpoint, "--out", tmp_path, "--quants", "F32", "--licence", "MIT")
    bundle = tmp_path / "gguf" / "F32"
    assert (
        "not checked" in (bundle / "README.md").read_text()
        or "was not checked" in (bundle / "README.md").read_text()
    )
    other = tmp_path / "other"
    write_llava_onevision(other, text="qwen2", seed=99)
    status, out, _ = run("verify", bundle, "--reference", other, "--rows", rows, *ENGINE)
    assert status == 1
    assert "**fail**" in out
    status, out, _ = run("verify", bundle, "--reference", checkpoint, "--rows", rows, *ENGINE)
    assert status == 0
    assert "**fail**" not in out


def test_merge_refuses_what_is_no_adapter(run, checkpoint, tmp_path):
    status, _, err = run("merge", checkpoint, checkpoint, "--out", tmp_path / "merged")
    assert status == 1
    assert "adapter_config.json" in err


def test_import_refuses_what_is_imported_already(run, checkpoint, tmp_path):
    status, _, err = run("import", checkpoint, "--out", tmp_path / "imported")
    assert status == 1
    assert "edgecritic: error:" in err
    Checkpoint.open(checkpoint).close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--licence", "MIT"], "nothing is asked for"),
        (["--quants", "F16"], "licence of the exported files is not named"),
        (["--quants", "Q1", "--licence", "MIT"], "quant type 'Q1'"),
        (["--onnx", "q1", "--licence", "MIT"], "q1"),
    ],
)
def test_what_all_does_not_take(run, checkpoint, tmp_path, arguments, message):
    status, _, err = run("all", checkpoint, "--out", tmp_path / "out", *arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.rglob("*.gguf"))


def test_facts_with_unknown_keys_are_refused(run, checkpoint, tmp_path):
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"licence": "MIT", "nmae": "x"}))
    status, _, err = run(
        "all", checkpoint, "--out", tmp_path / "out", "--quants", "F16", "--facts", facts
    )
    assert status == 2
    assert "unknown keys: nmae" in err


def test_an_override_needs_both_halves(run, checkpoint, tmp_path):
    status, _, err = run("all", checkpoint, "--out", tmp_path, "--override", "ffn_down")
    assert status == 2
    assert "REGEX=TYPE" in err
