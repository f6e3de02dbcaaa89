"""A GGUF bundle's ONNX form: the same judgements, made once, and never half."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tokenizers import Tokenizer

from edgecritic import ArtifactError, Bundle, Critic, InputError, MissingExtraError
from edgecritic.backends import choose_backend, load_backend, prepare
from edgecritic.backends.base import Append, FloatArray, TextSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.derived import onnx_form as making
from edgecritic.derived.onnx_form import RECIPE, onnx_form
from edgecritic.fit.machine import Machine
from edgecritic.manifest import Calibration
from tiny_checkpoints import TILE_SIZE, write_llava_onevision
from tiny_engines import write_gguf_bundle

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, device="cpu", cache_type="F32")
TILES = np.random.default_rng(2).integers(0, 256, (2, TILE_SIZE, TILE_SIZE, 3), dtype=np.uint8)
TEXTS = ("the 7, the 8", "Ünïcödé\u0301 \r\n\t<|im_end|> 3.14", "")


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp(f"original-{request.param}")
    text: Literal["qwen2", "llama"] = request.param
    write_llava_onevision(folder / "checkpoint", text=text, tied=text == "llama", seed=3)
    return write_gguf_bundle(folder / "checkpoint", folder / "gguf")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def form(original: Bundle, cache: Path) -> Bundle:
    return onnx_form(original, cache_dir=cache)


@pytest.fixture
def at_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECRITIC_HOME", str(cache))
    return cache


def logits(bundle: Bundle, name: str) -> tuple[FloatArray, FloatArray, list[list[int]]]:
    """After some text; of tiles; tokens of texts as text and with control tokens."""
    backend = load_backend(bundle, name, OPTIONS)
    try:
        (row,) = backend.append([Append(backend.open_sequence(), (TextSpan(tuple(range(60))),))])
        assert row is not None
        tokens = [backend.tokenize(t, control=control) for t in TEXTS for control in (True, False)]
        return row, backend.encode_tiles(TILES), tokens
    finally:
        backend.close()


def test_it_computes_what_the_original_computes(original: Bundle, form: Bundle) -> None:
    expected, features, tokens = logits(original, "llamacpp")
    found, own_features, own_tokens = logits(form, "onnx")
    # The type is eight bits: a hundredth of the deviation on these random weights.
    assert np.abs(found - expected).max() < 0.1 * expected.std()
    assert np.abs(own_features - features).max() < 0.02
    assert own_tokens == tokens


def test_it_says_what_the_original_says(original: Bundle, form: Bundle) -> None:
    assert form.manifest.formats == ("onnx",)
    assert form.manifest.derived_from is not None
    files = {file.sha256 for file in original.manifest.files}
    assert set(form.manifest.derived_from.files) == files
    said = replace(form.manifest, files=original.manifest.files, derived_from=None)
    assert said == original.manifest
    assert Bundle.read(form.folder).manifest == form.manifest


def test_it_is_made_once(original: Bundle, form: Bundle, cache: Path) -> None:
    told: list[str] = []
    assert onnx_form(original, progress=told.append, cache_dir=cache) == form
    assert not told


def test_what_the_original_says_today_counts(original: Bundle, form: Bundle, cache: Path) -> None:
    manifest = replace(original.manifest, calibration=Calibration(2.0, 3.0, 0.1))
    told: list[str] = []
    found = onnx_form(replace(original, manifest=manifest), progress=told.append, cache_dir=cache)
    assert found.manifest.calibration == manifest.calibration
    assert found.manifest.files == form.manifest.files
    assert not told


def test_a_damaged_form_is_made_again(original: Bundle, form: Bundle, cache: Path) -> None:
    decoder = form.file("decoder")
    content = bytearray(decoder.read_bytes())
    content[-1] ^= 1
    decoder.write_bytes(content)
    told: list[str] = []
    again = onnx_form(original, progress=told.append, cache_dir=cache)
    assert again.manifest.files == form.manifest.files
    assert told[0] == "making the ONNX form of tiny-1, once on this machine"
    assert again.file("decoder").is_file()


def test_another_recipe_takes_the_place_of_the_old_one(
    original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = onnx_form(original, cache_dir=tmp_path)
    monkeypatch.setattr(making, "RECIPE", "onnx-q8-next")
    new = onnx_form(original, cache_dir=tmp_path)
    assert new.folder == old.folder.parent / "onnx-q8-next"
    assert not old.folder.exists()


@pytest.mark.parametrize("stop", ["write_decoder", "write_tower", "write_bundle"])
def test_an_interruption_leaves_nothing_that_is_taken_for_whole(
    original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, stop, interrupted)
    with pytest.raises(KeyboardInterrupt):
        onnx_form(original, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.onnx*"))
    monkeypatch.undo()
    assert onnx_form(original, cache_dir=tmp_path).file("decoder").is_file()


def test_two_at_once_make_it_once(
    original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = [], making.write_decoder
    both_want_it = threading.Barrier(2, timeout=30)

    def slow(*arguments: object, **named: object) -> object:
        begun.append(1)
        both_want_it.wait()
        return real(*arguments, **named)

    def tell(line: str) -> None:
        if "another process" in line:
            both_want_it.wait()

    monkeypatch.setattr(making, "write_decoder", slow)
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(onnx_form, original, progress=tell, cache_dir=tmp_path) for _ in range(2)
        ]
        first, second = (run.result(timeout=60) for run in runs)
    assert first == second
    assert len(begun) == 1


def test_a_full_disk_is_an_error_with_a_hint(
    original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_SIZE_FACTOR", 1 << 50)
    with pytest.raises(ArtifactError, match="MB are free") as caught:
        onnx_form(original, cache_dir=tmp_path)
    assert "EDGECRITIC_HOME" in caught.value.hint


def test_a_missing_original_is_told_before_anything_is_made(
    original: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        onnx_form(replace(original, folder=tmp_path / "elsewhere"), cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.onnx*"))


# How it is chosen.


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "edgecritic.backends.find_spec",
        lambda name: None if name in modules else find_spec(name),
    )


def test_auto_takes_it_where_llama_cpp_is_not_installed(
    original: Bundle, form: Bundle, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_backend(original, "auto") == "llamacpp"
    without(monkeypatch, "llama_cpp", "inferna")
    assert choose_backend(original, "auto") == "onnx"
    with Critic.load(original, threads=1) as critic:
        assert critic.info.name == "onnx"
        assert critic.profile.name == "tiny-1"
        assert critic.score(None, "Which digit?", "a 7", rationale=False).mass > 0
    without(monkeypatch, "llama_cpp", "inferna", "onnxruntime")
    assert choose_backend(original, "auto") == "llamacpp"  # whose error says how to install it


def test_it_can_be_asked_for(original: Bundle, form: Bundle, at_home: Path) -> None:
    with Critic.load(original, backend="onnx", threads=1) as critic:
        assert critic.info.name == "onnx"
    with pytest.raises(InputError, match="backend hf runs hf files"):
        choose_backend(original, "hf")


def test_nothing_is_made_for_an_engine_that_is_not_there(
    original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="ONNX Runtime engine is not installed"):
        Critic.load(original, backend="onnx")
    assert not list(tmp_path.iterdir())


def test_a_pull_makes_it_ready(original: Bundle, tmp_path: Path) -> None:
    """In a process of its own, from which llama.cpp is hidden."""
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name: None if name in ('llama_cpp', 'inferna') else real(name)\n"
        "from edgecritic.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "EDGECRITIC_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", code, "models", "pull", str(original.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stdout  # its files lie in its own folder
    assert "once on this machine" in done.stderr
    assert len(list(tmp_path.glob(f"derived/*/{RECIPE}/critic.json"))) == 1


def test_tokens_of_the_form_are_read_by_the_tokenizers_package(form: Bundle) -> None:
    tokenizer = Tokenizer.from_file(str(form.file("tokenizer")))
    assert tokenizer.decode(tokenizer.encode("the 7, the 8").ids) == "the 7, the 8"


def with_adapter(bundle: Bundle) -> Bundle:
    """Says that it has one."""
    (model,) = bundle.manifest.having("language_model")
    adapter = replace(model, role="adapter", path="adapter.gguf")
    return replace(
        bundle, manifest=replace(bundle.manifest, files=(*bundle.manifest.files, adapter))
    )


def test_a_form_that_pays_is_preferred_on_a_cpu(
    original: Bundle, form: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "onnx_form", lambda bundle, progress: form)
    monkeypatch.setattr(Machine, "here", lambda: Machine(None, None, None))
    adapted = with_adapter(original)
    assert prepare(original, "auto") == ("llamacpp", original)
    assert prepare(adapted, "auto") == ("onnx", form)
    assert prepare(adapted, "auto", "gpu") == ("llamacpp", adapted)
    assert prepare(adapted, "llamacpp", "cpu") == ("llamacpp", adapted)
    monkeypatch.setattr(Machine, "here", lambda: Machine(None, None, 1 << 30))
    assert prepare(adapted, "auto") == ("llamacpp", adapted)
    assert prepare(adapted, "auto", "cpu") == ("onnx", form)
    monkeypatch.setattr(making, "SMALL", 10)
    assert prepare(adapted, "auto", "cpu") == ("llamacpp", adapted)


def test_where_a_form_cannot_be_made_the_bundle_is_taken_as_it_is(
    original: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(bundle: Bundle, progress: object) -> Bundle:
        raise ArtifactError("no space", "free some")

    monkeypatch.setattr(making, "onnx_form", refuse)
    caplog.set_level("INFO")
    adapted = with_adapter(original)
    assert prepare(adapted, "auto", "cpu") == ("llamacpp", adapted)
    assert "no space" in caplog.text


def test_a_form_has_the_context_that_its_model_was_made_for(original: Bundle, cache: Path) -> None:
    longer = replace(original, manifest=replace(original.manifest, n_ctx=10**6))
    made_for = onnx_form(longer, cache_dir=cache / "longer").manifest.n_ctx
    assert original.manifest.n_ctx <= made_for < 10**6
    assert onnx_form(original, cache_dir=cache / "longer").manifest.n_ctx == original.manifest.n_ctx
