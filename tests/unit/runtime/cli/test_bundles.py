"""inspect and models on a bundle with one file of its own and one in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.cache_folder import cache_path
from edgecritic.manifest import BundleFile, Calibration, DialectRef, Manifest, PypiSource
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric

Run = Callable[..., Ran]
MODEL = b"a language model"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path / "home"))
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(b"an adapter")
    model = BundleFile(
        "language_model",
        "model.gguf",
        hashlib.sha256(MODEL).hexdigest(),
        len(MODEL),
        "Q4_1",
        external=True,
        sources=(PypiSource("a-package", "1.0", "model.gguf"),),
    )
    dialect = load_dialect()
    manifest = Manifest(
        name="tiny",
        version="1",
        family="llava_onevision",
        files=(model, describe_file("adapter", adapter, quant="F16")),
        base_model="random",
        dialect=DialectRef(dialect.name, dialect.digest),
        rubric=Rubric(),
        n_ctx=512,
        image=None,
        calibration=Calibration(),
        licence="Apache-2.0",
        training={
            "steps": [{"name": "first", "rows": 3}, {}, []],
            "loss": [0.30000000000000004, 2],
            "resumed": False,
        },
        verification=None,
        good_for=("text \x1b[31m\nlicence: MIT",),
        bad_for=("photographs",),
        created="2026-11-23",
    )
    return write_bundle(tmp_path / "bundle", manifest, {"adapter.gguf": adapter})


def store_model(bundle: Bundle, content: bytes = MODEL) -> Path:
    path = cache_path(bundle.manifest.having("language_model")[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_inspect_shows_the_manifest(run: Run, bundle: Bundle) -> None:
    (line,) = run("inspect", str(bundle.folder), "--json").json
    assert line == bundle.describe()
    out = run("inspect", str(bundle.folder)).out
    assert "base_model: random" in out
    assert "- photographs" in out
    assert "- name: first" in out
    assert "\x1b" not in out
    assert "\nlicence: MIT" not in out
    assert "\n  loss: 0.3, 2\n" in out
    assert "\n  resumed: no\n" in out
    assert "\nverification: none\n" in out
    assert out.splitlines()[1] == "good_for"  # what a user has to know is not below the rest
    assert out.index("\nverification") < out.index("\ntraining")  # a run's settings fill pages


def test_inspect_says_none_where_a_bundle_says_nothing(run: Run, bundle: Bundle) -> None:
    path = bundle.folder / "critic.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "good_for": []}))
    assert "\ngood_for: none\n" in run("inspect", str(bundle.folder)).out


def test_inspect_of_no_bundle_is_status_1(run: Run, tmp_path: Path) -> None:
    ran = run("inspect", str(tmp_path))
    assert (ran.status, ran.out) == (1, "")
    assert "critic.json is missing" in ran.err
    assert "name a folder that holds a critic.json" in ran.err


def test_a_checkpoint_in_place_of_a_bundle_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert "edgecritic export all CHECKPOINT" in run("inspect", str(tmp_path)).err


def test_list_says_which_files_are_there(run: Run, bundle: Bundle) -> None:
    assert [
        line["present"] for line in run("models", "list", str(bundle.folder), "--json").json
    ] == [False, True]
    path = store_model(bundle)
    first, second = run("models", "list", str(bundle.folder)).out.splitlines()
    assert first.split() == ["present", "language_model", "Q4_1", "0.0", "MB", str(path)]
    assert second.split()[:3] == ["present", "adapter", "F16"]


def test_a_place_that_cannot_be_looked_at_is_missing(
    run: Run, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", f"/{'long' * 2000}")
    ran = run("models", "list", str(bundle.folder))
    assert ran.status == 0
    assert ran.out.startswith("missing  language_model")


def test_pull_prints_where_the_files_lie(run: Run, bundle: Bundle) -> None:
    path = store_model(bundle)
    ran = run("models", "pull", str(bundle.folder))
    assert (ran.status, ran.out) == (0, f"{path}\n")


@pytest.mark.parametrize("content", [None, b"another language", b"other"])
def test_verify_finds_what_is_missing_or_damaged(
    run: Run, bundle: Bundle, content: bytes | None
) -> None:
    if content is not None:
        store_model(bundle, content)
    ran = run("models", "verify", str(bundle.folder))
    assert ran.status == 1
    assert [line.split()[0] for line in ran.out.splitlines()] == ["failed", "ok"]
    assert f"hint: fetch it with: edgecritic models pull {bundle.folder}" in ran.err
    model, adapter = run("models", "verify", str(bundle.folder), "--json").json
    assert (model["whole"], adapter["whole"]) == (False, True)
    assert "model.gguf" in model["error"]["message"]


def test_verify_of_a_whole_bundle_is_status_0(run: Run, bundle: Bundle) -> None:
    store_model(bundle)
    ran = run("models", "verify", str(bundle.folder))
    assert (ran.status, ran.err) == (0, "")
