"""``edgecritic export`` from its command line, on tiny checkpoints."""

import json
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from edgecritic import Bundle
from edgecritic.cli import main
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.source import Source
from edgecritic_export.commands.facts import read_facts
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from tiny_adapters import write_adapter
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl


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


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (40, 24), colour).save(folder / name)
    responses = [
        {"text": "It is red.", "scores": [9, 2]},
        {"text": "It is blue.", "scores": [2, 9]},
    ]
    item = {"question": "Which?", "images": ["a.png", "b.png"], "responses": responses}
    lines = [json.dumps({"id": f"i{number}", **item}) for number in range(12)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return folder


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


def test_a_folder_of_any_name_becomes_a_critic(run, checkpoint, tmp_path):
    arguments = ("all", checkpoint, "--out", tmp_path / "out", "--quants", "F32")
    status, _, err = run(*arguments, "--licence", "MIT", "--name", "a b")
    assert (status, "the critic's name is 'a b'" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    options = Namespace(facts=None, name=None, critic_version=None, licence="MIT")
    assert read_facts(options, Source(tmp_path / "mein Kritiker (ü)")).name == "mein-Kritiker"


def test_importance_is_measured_on_a_checkpoint_or_on_its_bundle(run, checkpoint, items, tmp_path):
    run("all", checkpoint, "--out", tmp_path, "--quants", "F32", "--licence", "MIT")
    arguments = ("--items", items, "--limit", 10, *ENGINE)
    found = {}
    for name, source, more in (
        ("checkpoint", checkpoint, ()),
        ("bundle", tmp_path / "gguf" / "F32", ()),
        ("text", tmp_path / "gguf" / "F32", ("--text-only",)),
    ):
        out = tmp_path / "new" / f"{name}.gguf"
        status, told, err = run("imatrix", source, "--out", out, *arguments, *more)
        assert status == 0, err
        assert told.startswith(f"{out}: 14 matrices, 10 rows of ")
        assert "10 of 10 rows read" in err
        found[name] = ImportanceMatrix.read(out)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("bundle.gguf", "checkpoint.gguf", "text.gguf")
    ]
    assert found["bundle"].counts == found["checkpoint"].counts
    for name in found["bundle"].names:
        np.testing.assert_allclose(
            found["checkpoint"].sums[name], found["bundle"].sums[name], rtol=1e-2
        )
    pictures = max(found["bundle"].counts.values()) - max(found["text"].counts.values())
    assert pictures > 10 * 16  # each row has one picture of at least a tile's 16 features
    assert found["text"].datasets == (f"{items.name}: judgements, text only",)
    assert found["bundle"].datasets == (f"{items.name}: judgements, with pictures",)


def test_importance_is_measured_with_the_prompts_of_the_training(run, checkpoint, items, tmp_path):
    arguments = ("imatrix", checkpoint, "--items", items, "--limit", 4, *ENGINE)
    found = []
    for name, more in (("usual", ()), ("wide", ("--dialect", "edgecritic-wide-v1"))):
        status, _, err = run(*arguments, "--out", tmp_path / f"{name}.gguf", *more)
        assert status == 0, err
        found.append(ImportanceMatrix.read(tmp_path / f"{name}.gguf").counts)
    assert found[0] != found[1]


def test_importance_changes_what_is_written(run, checkpoint, items, tmp_path):
    matrix = tmp_path / "imatrix.gguf"
    run("imatrix", checkpoint, "--items", items, "--out", matrix, *ENGINE)
    arguments = ("--quants", "Q4_0", "--licence", "MIT")
    written = []
    for name, more in (("plain", ()), ("weighed", ("--imatrix", matrix))):
        status, _, err = run("all", checkpoint, "--out", tmp_path / name, *arguments, *more)
        assert status == 0, err
        written.append(next((tmp_path / name / "gguf" / "Q4_0").glob("*-Q4_0.gguf")).read_bytes())
    assert written[0] != written[1]
    rounding = [
        Bundle.read(tmp_path / name / "gguf" / "Q4_0").manifest.rounding
        for name in ("plain", "weighed")
    ]
    judged = f"{items.name}: judgements, with pictures"
    assert rounding == [None, {"importance": [judged], "rows": 12}]
    # The same folder is not filled with files that were rounded in another way.
    status, _, err = run("all", checkpoint, "--out", tmp_path / "weighed", *arguments)
    assert status == 1
    assert "export with other settings" in err


def test_all_measures_the_layers_of_a_four_bit_decoder(run, checkpoint, items, tmp_path):
    arguments = ("--onnx", "q4", "--licence", "MIT", "--calibration", items, *ENGINE)
    status, _, err = run("all", checkpoint, "--out", tmp_path, *arguments, "--calibration-limit", 2)
    assert status == 0, err
    said = Bundle.read(tmp_path / "onnx" / "variants" / "q4").manifest.rounding
    assert said["chosen"] == f"measured on 2 judgements with pictures, of {items.name}"


def test_importance_is_not_measured_on_rounded_weights(run, checkpoint, items, tmp_path):
    run("all", checkpoint, "--out", tmp_path, "--quants", "Q8_0", "--licence", "MIT")
    status, _, err = run(
        "imatrix", tmp_path / "gguf" / "Q8_0", "--items", items, "--out", tmp_path / "m.gguf"
    )
    assert status == 2
    assert "is Q8_0: importance is measured on a merged model" in err
    status, _, err = run(
        "imatrix", checkpoint, "--items", tmp_path, "--out", tmp_path / "m.gguf", *ENGINE
    )
    assert status == 2
    assert "holds no calibration items" in err
    assert not (tmp_path / "m.gguf").exists()


def test_all_of_a_critic_that_sees_pictures_as_they_are(run, rows, tmp_path):
    folder = tmp_path / "critic-qwen"
    write_qwen2_5_vl(folder, dtype="bfloat16")
    arguments = ("all", folder, "--out", tmp_path / "out", "--quants", "F32,F16,Q8_0")
    arguments = (*arguments, "--licence", "MIT", "--rows", rows, *ENGINE)
    status, out, err = run(*arguments, "--onnx", "fp32")
    assert status == 1
    assert "not exported to ONNX" in err
    assert not (tmp_path / "out").exists()
    status, out, err = run(*arguments)
    assert status == 0, out + err
    assert [line.split()[2] for line in out.splitlines()] == ["verified"] * 3
    bundle = Bundle.read(tmp_path / "out" / "gguf" / "Q8_0")
    assert bundle.manifest.family == "qwen2_5_vl"
    assert bundle.manifest.dialect.name == "edgecritic-qwen-v1"
    assert [file.quant for file in bundle.manifest.files] == ["Q8_0", "BF16"]
    tower = bundle.manifest.having("mmproj")[0].path
    assert (tmp_path / "out" / "gguf" / "F16" / tower).samefile(bundle.folder / tower)
    status, again, err = run(*arguments)
    assert (status, again) == (0, out)


def test_importance_of_a_critic_that_sees_pictures_as_they_are(run, items, tmp_path):
    folder, matrix = tmp_path / "critic-qwen", tmp_path / "imatrix.gguf"
    write_qwen2_5_vl(folder)
    arguments = ("--items", items, "--limit", 4, *ENGINE)
    status, told, err = run("imatrix", folder, "--out", matrix, *arguments)
    assert status == 0, err
    assert told.startswith(f"{matrix}: 14 matrices, 4 rows of ")
    arguments = ("--quants", "Q4_0", "--imatrix", matrix, "--licence", "MIT")
    status, _, err = run("all", folder, "--out", tmp_path / "out", *arguments)
    assert status == 0, err
    found = Bundle.read(tmp_path / "out" / "gguf" / "Q4_0").manifest
    assert found.rounding == {"importance": [f"{items.name}: judgements, with pictures"], "rows": 4}


def test_a_tower_of_other_windows_is_caught(run, rows, tmp_path):
    folder = tmp_path / "critic-qwen"
    write_qwen2_5_vl(folder)
    run("all", folder, "--out", tmp_path, "--quants", "F32", "--licence", "MIT")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["window_size"] = 56
    (folder / "config.json").write_text(json.dumps(config))
    bundle = tmp_path / "gguf" / "F32"
    status, out, _ = run("verify", bundle, "--reference", folder, "--rows", rows, *ENGINE)
    assert status == 1
    failed = [line for line in out.splitlines() if "**fail**" in line]
    assert any("image features" in line for line in failed)


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


def test_a_merged_critic_remembers_base_and_training(run, checkpoint, tmp_path):
    adapter = tmp_path / "adapter"
    write_adapter(checkpoint, adapter)
    (adapter / "training.json").write_text(
        json.dumps({"step": 7, "base": {"quantization": "none"}})
    )
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"licence": "MIT", "data_licences": "CC-BY-4.0"}))
    kinds = ("--quants", "F32", "--facts", facts)
    status, _, err = run("merge", checkpoint, adapter, "--out", tmp_path / "merged")
    assert status == 0, err
    for name, arguments in (
        ("whole", (tmp_path / "merged",)),
        ("apart", (checkpoint, "--adapter", adapter)),
    ):
        status, _, err = run("all", *arguments, "--out", tmp_path / name, *kinds)
        assert status == 0, err
        bundle = Bundle.read(tmp_path / name / "gguf" / "F32")
        assert bundle.manifest.base_model == "critic-mini"
        assert bundle.manifest.training["step"] == 7
        assert bundle.manifest.training["data_licences"] == "CC-BY-4.0"
        assert bool(bundle.manifest.having("adapter")) == (name == "apart")
        assert (
            "Licences of the training data: CC-BY-4.0" in (bundle.folder / "README.md").read_text()
        )


def test_types_of_towers_are_chosen(run, checkpoint, tmp_path):
    kinds = ("--quants", "F16", "--mmproj", "Q8_0", "--onnx", "q8", "--vision", "int8", "--hf")
    status, out, err = run("all", checkpoint, "--out", tmp_path, *kinds, "--licence", "MIT")
    assert status == 0, err
    assert len(out.splitlines()) == 3
    gguf = Bundle.read(tmp_path / "gguf" / "F16").manifest
    onnx = Bundle.read(tmp_path / "onnx" / "variants" / "q8").manifest
    assert gguf.having("mmproj")[0].quant == "Q8_0"
    assert onnx.having("vision_encoder")[0].path == "onnx/vision_encoder_quantized.onnx"
    assert Bundle.read(tmp_path / "hf").manifest.having("checkpoint")


def test_a_merge_tells_what_nobody_can_check(run, checkpoint, tmp_path):
    adapter = tmp_path / "adapter"
    write_adapter(checkpoint, adapter)
    _, _, err = run("merge", checkpoint, adapter, "--out", tmp_path / "a")
    assert "no training.json" in err
    assert "NF4" in err
    _, _, err = run("merge", checkpoint, adapter, "--out", tmp_path / "b", "--original-base")
    assert "NF4" not in err
    for name, doubted in (("critic-mini", False), ("somebody/critic-maxi", True)):
        summary = {"base": {"model": name, "quantization": "none"}}
        (adapter / "training.json").write_text(json.dumps(summary))
        _, _, err = run("merge", checkpoint, adapter, "--out", tmp_path / name.replace("/", "-"))
        assert ("see that" in err) == doubted
        assert "NF4" not in err


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
        (["--onnx", "q8", "--calibration", ".", "--licence", "MIT"], "add --onnx q4"),
        (["--onnx", "q4", "--calibration", ".", "--licence", "MIT"], "holds no items.jsonl"),
    ],
)
def test_what_all_does_not_take(run, checkpoint, tmp_path, arguments, message):
    status, _, err = run("all", checkpoint, "--out", tmp_path / "out", *arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.rglob("*.gguf"))


def test_numbers_that_are_none_are_told(run, checkpoint, rows, tmp_path):
    """A limit below nothing was a traceback, behind all that was exported."""
    for arguments in (
        ("verify", tmp_path, "--reference", checkpoint, "--rows", rows, "--limit", "-3"),
        ("all", checkpoint, "--out", tmp_path, "--onnx", "q4", "--calibration-limit", "0"),
        ("imatrix", checkpoint, "--items", rows, "--out", tmp_path / "i.gguf", "--limit", "-1"),
        ("features", tmp_path, "--set", rows, "--out", tmp_path / "f.npz", "--limit", "-1"),
    ):
        status, _, err = run(*arguments)
        assert status == 2
        assert "is not a whole number >= 1" in err


def test_rows_that_are_none_are_told_before_anything_is_written(run, checkpoint, tmp_path):
    kinds = ("--quants", "F16", "--licence", "MIT", "--rows", tmp_path)
    status, _, err = run("all", checkpoint, "--out", tmp_path / "out", *kinds)
    assert status == 2
    assert f"--rows: {tmp_path} holds no items.jsonl" in err
    assert not (tmp_path / "out").exists()


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


def test_the_commands_are_listed_without_the_packages_that_they_need():
    """A subprocess: here the packages have been loaded long ago."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'gguf']));"
    listed = "from edgecritic_export.cli import main; raise SystemExit(main(['--help']))"
    ran = subprocess.run(
        [sys.executable, "-c", blocked + listed], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "imatrix   measure" in ran.stdout
