"""One checkpoint, three engines: the same logits, and the same verdicts.

Measured in logits, whose standard deviation is 0.9 here, against transformers in float32:
ONNX Runtime 1.2e-6; llama.cpp 1.0e-6 on text and 2.8e-4 behind a picture, since it looks GELU up
in a table of half precision (features differ by 4e-3). A tied Llama, whose logits are ten times
larger, differs ten times as much. The smaller ONNX variants: fp16 0.002, q8 0.05, q4 0.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecritic import (
    BackendUnavailableError,
    Bundle,
    CancelToken,
    CompareRequest,
    ContextOverflowError,
    Critic,
    InputError,
    Progress,
    ScoreRequest,
)
from edgecritic.backends import choose_backend, load_backend
from edgecritic.backends.base import Append, Backend, FloatArray, Span, TextSpan
from edgecritic.backends.hf.model import HfModel
from edgecritic.backends.llamacpp.decoding import Decoder as LlamaDecoder
from edgecritic.backends.onnx.runtime import Session
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import write_bundle
from edgecritic.manifest import BundleFile
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.progress import Event
from edgecritic.verdict import Preference, Verdict
from edgecritic_export.onnx.precision import Variant
from tiny_engines import tiny_manifest, write_hf_bundle

OPTIONS = EngineOptions(
    n_ctx=512, n_threads=1, device="cpu", cache_type="F32", flash_attention=False
)
QUESTION = "Which digit is this?"
RESPONSES = ["a 7", "the digit is an 8, drawn in red", ""]
WORDS = TextSpan(tuple(range(40, 90)))
PREBUILT = [name for name in ("inferna",) if find_spec(name) is not None]
ON_TEXT = 1e-5
BEHIND_PICTURES = {"onnx": 1e-5, "llamacpp": 2e-3, "inferna": 2e-3}
FEATURES = {"onnx": 5e-5, "llamacpp": 0.02, "inferna": 0.02}


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Noise in large patches, which a resize does not grey out."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return patches.resize(size, Image.Resampling.NEAREST)


@dataclass
class Loaded:
    backend: Backend
    pictures: PictureEncoder

    def decode(self, *spans: Span) -> FloatArray:
        sequence = self.backend.open_sequence()
        (logits,) = self.backend.append([Append(sequence, spans)])
        self.backend.close_sequence(sequence)
        assert logits is not None
        return logits


@pytest.fixture(scope="module")
def bundles(
    hf_bundle: Bundle, gguf_bundle: Bundle, onnx_bundles: dict[Variant, Bundle]
) -> dict[str, Bundle]:
    return {"hf": hf_bundle, "llamacpp": gguf_bundle, "onnx": onnx_bundles["fp32"]}


@pytest.fixture(scope="module")
def loaded(bundles: dict[str, Bundle], torch_threads: None) -> Iterator[dict[str, Loaded]]:
    engines = {}
    for name, bundle in (bundles | dict.fromkeys(PREBUILT, bundles["llamacpp"])).items():
        backend = load_backend(bundle, name, OPTIONS)
        engines[name] = Loaded(backend, PictureEncoder(backend, CriticProfile.of(bundle).vision))
    yield engines
    for engine in engines.values():
        engine.backend.close()


@pytest.mark.parametrize("name", ["onnx", "llamacpp", *PREBUILT])
def test_logits_of_text(loaded: dict[str, Loaded], name: str) -> None:
    for span in (WORDS, TextSpan((7,)), TextSpan(tuple(range(256)))):
        expected = loaded["hf"].decode(span)
        np.testing.assert_allclose(loaded[name].decode(span), expected, atol=ON_TEXT)


@pytest.mark.parametrize("name", ["onnx", "llamacpp", *PREBUILT])
@pytest.mark.parametrize("size", [(60, 40), (30, 90)])
def test_features_and_logits_of_pictures(
    loaded: dict[str, Loaded], name: str, size: tuple[int, int]
) -> None:
    rows, features = {}, {}
    for engine in ("hf", name):
        (span,) = loaded[engine].pictures.spans(picture(0, size))
        features[engine] = span.features
        rows[engine] = loaded[engine].decode(WORDS, span, TextSpan((90, 91)))
    np.testing.assert_allclose(features[name], features["hf"], atol=FEATURES[name])
    np.testing.assert_allclose(rows[name], rows["hf"], atol=BEHIND_PICTURES[name])


@pytest.mark.parametrize("variant", ["fp16", "q8", "q4", "q4f16"])
def test_smaller_variants_stay_near(
    onnx_bundles: dict[Variant, Bundle], loaded: dict[str, Loaded], variant: Variant
) -> None:
    tolerance = {"fp16": 0.01, "q8": 0.2, "q4": 1.5, "q4f16": 1.5}[variant]
    backend = load_backend(onnx_bundles[variant], "onnx", OPTIONS)
    small = Loaded(backend, PictureEncoder(backend, loaded["onnx"].pictures.profile))
    (span,) = small.pictures.spans(picture(0, (60, 40)))
    found = small.decode(WORDS, span, TextSpan((90,)))
    np.testing.assert_allclose(
        found, loaded["onnx"].decode(WORDS, span, TextSpan((90,))), atol=tolerance
    )
    backend.close()


@pytest.fixture
def critics(
    bundles: dict[str, Bundle],
    branching_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    torch_threads: None,
) -> Iterator[dict[str, Critic]]:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)  # a random model states no verdicts
    opened = {
        name: Critic.load(bundle, device="cpu", threads=1)
        for name, bundle in (bundles | {"branching": branching_bundle}).items()
    }
    yield opened
    for critic in opened.values():
        critic.close()


def test_the_same_verdicts_through_the_whole_critic(critics: dict[str, Critic]) -> None:
    seen = {}
    for name, critic in critics.items():
        assert critic.info.name == ("onnx" if name == "branching" else name)
        image = picture(1, (60, 40))
        verdict = critic.score(image, QUESTION, RESPONSES[0], max_rationale_tokens=5)
        ranking = critic.rank([image, picture(2, (20, 50))], QUESTION, RESPONSES)
        pair = critic.compare(None, QUESTION, *RESPONSES[:2], rationale=False)
        seen[name] = (verdict, ranking, pair)
        assert verdict.status == pair.status == "ok"
    reference, ranked, preferred = seen["hf"]
    for verdict, ranking, pair in (seen["onnx"], seen["branching"], seen["llamacpp"]):
        # llama.cpp's cache is in half precision here, as in use.
        assert dict(verdict.probabilities) == pytest.approx(dict(reference.probabilities), abs=2e-3)
        assert verdict.rationale == reference.rationale
        assert dict(pair.probabilities) == pytest.approx(dict(preferred.probabilities), abs=2e-3)
        assert ranking.order == ranked.order
        assert (pair.winner, verdict.level) == (preferred.winner, reference.level)


def test_prefixes_are_shared_in_every_engine(critics: dict[str, Critic]) -> None:
    usages = {}
    for name, critic in critics.items():
        ranking = critic.rank(picture(1, (60, 40)), QUESTION, RESPONSES)
        usages[name] = ranking.usage
        assert ranking.usage.decoded_tokens < ranking.usage.prompt_tokens / 2
    assert usages["hf"] == usages["onnx"] == usages["branching"] == usages["llamacpp"]


def test_all_pairs_through_every_engine(critics: dict[str, Critic]) -> None:
    image, seen = picture(1, (60, 40)), {}
    for name, critic in critics.items():
        pairs = critic.compare_all(image, QUESTION, RESPONSES)
        assert [(i, j) for i, j, _ in pairs] == [(0, 1), (0, 2), (1, 2)]
        for i, j, preference in pairs:
            critic.forget()
            alone = critic.compare(image, QUESTION, RESPONSES[i], RESPONSES[j], rationale=False)
            assert dict(preference.probabilities) == near(alone.probabilities)
        seen[name] = [preference.probabilities for _, _, preference in pairs]
    for name, found in seen.items():
        for probabilities, expected in zip(found, seen["hf"], strict=True):
            assert dict(probabilities) == near(expected), name


def test_what_is_submitted_together_through_every_engine(critics: dict[str, Critic]) -> None:
    """Other pictures, with reasons and without, one that is too long: each gets its own answer."""
    red, green = picture(1, (60, 40)), picture(2, (20, 50))
    requests = [
        ScoreRequest(red, QUESTION, RESPONSES[0], max_rationale_tokens=4),
        CompareRequest(green, QUESTION, *RESPONSES[:2], max_rationale_tokens=7),
        ScoreRequest(None, "word " * 2000, RESPONSES[0]),
        ScoreRequest(red, QUESTION, RESPONSES[1], max_rationale_tokens=2),
        ScoreRequest(None, QUESTION, RESPONSES[1], rationale=False),
        CompareRequest(red, QUESTION, *RESPONSES[1:], orders="given", rationale=False),
    ]
    seen: dict[str, list[Verdict | Preference]] = {}
    for name, critic in critics.items():
        futures = critic.submit_many(requests)
        with pytest.raises(ContextOverflowError):
            futures.pop(2).result(60)
        seen[name] = [future.result(60) for future in futures]
        critic.forget()
        asked = [request for number, request in enumerate(requests) if number != 2]
        for together, request in zip(seen[name], asked, strict=True):
            alone = asyncio.run(critic.ask(request))
            assert dict(together.probabilities) == near(alone.probabilities), name
            assert together.rationale == alone.rationale
    for found in seen.values():
        for judged, expected in zip(found, seen["hf"], strict=True):
            assert dict(judged.probabilities) == near(expected.probabilities)
            assert judged.rationale == expected.rationale
            assert judged.usage == expected.usage


def test_a_cancelled_request_leaves_its_mates_alone_in_every_engine(
    critics: dict[str, Critic],
) -> None:
    image = picture(1, (60, 40))
    for name, critic in critics.items():
        cancel = CancelToken()

        def stop(event: Event, cancel: CancelToken = cancel) -> None:
            if isinstance(event, Progress) and event.stage == "token":
                cancel.cancel()

        mate = critic.submit(ScoreRequest(image, QUESTION, "a 7", max_rationale_tokens=20))
        request = ScoreRequest(image, QUESTION, "an 8", max_rationale_tokens=400)
        stopped = critic.submit(request, cancel=cancel, on_event=stop).result(60)
        assert stopped.status == "cancelled", name
        assert stopped.probabilities
        assert mate.result(60).status == "ok"
        again = critic.score(image, QUESTION, "an 8", rationale=False)
        assert dict(again.probabilities) == near(stopped.probabilities)


INNERMOST = {
    "hf": (HfModel, "decode"),
    "llamacpp": (LlamaDecoder, "_decode"),
    "onnx": (Session, "run_bound"),
    "branching": (Session, "run_bound"),
}
"""What computes a batch, below all that keeps count of sequences."""


@pytest.mark.parametrize("name", INNERMOST)
@pytest.mark.parametrize("nth", [1, 2])
def test_memory_that_ends_in_one_request_leaves_the_critic_usable(
    critics: dict[str, Critic], monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    critic, image = critics[name], picture(2, (60, 40))
    expected = critic.score(image, QUESTION, "a 7", rationale=False)
    critic.forget()
    owner, method = INNERMOST[name]
    innermost, batches = getattr(owner, method), []

    def ends(*args: Any, **kwargs: Any) -> Any:
        found = innermost(*args, **kwargs)  # what it wrote before it failed lies there
        batches.append(found)
        if len(batches) >= nth:
            raise MemoryError("nothing is left")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(owner, method, ends)
        with pytest.raises(BackendUnavailableError, match="nothing is left"):
            critic.score(image, QUESTION, "an 8", rationale=False)
    assert len(batches) >= nth
    again = critic.score(image, QUESTION, "a 7", rationale=False)
    assert dict(again.probabilities) == near(expected.probabilities)
    assert again.usage == expected.usage


def near(probabilities: Mapping[Any, float]) -> Any:
    """llama.cpp's cache is in half precision here, as in use."""
    return pytest.approx(dict(probabilities), abs=2e-3)


# One bundle in all formats.


@pytest.fixture(scope="module")
def everything(
    bundles: dict[str, Bundle], checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """GGUF, ONNX and a checkpoint in one folder."""
    listed: dict[str, tuple[BundleFile, Path]] = {}
    for name, bundle in bundles.items():
        for file in bundle.manifest.files:
            path = file.path if name == "onnx" else f"{name}/{file.path}"
            if file.role != "image_newline" or name == "onnx":
                listed[path] = (replace(file, path=path), bundle.folder / file.path)
    manifest = tiny_manifest([file for file, _ in listed.values()])
    sources = {path: source for path, (_, source) in listed.items()}
    return write_bundle(tmp_path_factory.mktemp("everything") / "bundle", manifest, sources)


def test_a_bundle_in_all_formats(everything: Bundle, torch_threads: None) -> None:
    assert everything.manifest.formats == ("gguf", "onnx", "hf")
    assert choose_backend(everything, "auto") == "llamacpp"
    rows = []
    for name in ("llamacpp", "onnx", "hf"):
        with Critic.load(everything.folder, backend=name, device="cpu", threads=1) as critic:
            assert critic.info.name == name
            rows.append(critic.score(picture(1, (60, 40)), QUESTION, "a 7", rationale=False).mass)
    assert rows[1:] == pytest.approx(rows[:1] * 2, rel=5e-3)


def test_weights_reach_the_engine_that_chooses_them(
    everything: Bundle, torch_threads: None
) -> None:
    with Critic.load(everything, backend="hf", device="cpu", threads=1, weights="bf16") as critic:
        rough = critic.score(None, QUESTION, "a 7", rationale=False).mass
    with Critic.load(everything, backend="hf", device="cpu", threads=1) as critic:
        exact = critic.score(None, QUESTION, "a 7", rationale=False).mass
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.3)
    for name in ("auto", "onnx"):
        with pytest.raises(InputError, match="takes weights as they are stored, not as bf16"):
            Critic.load(everything, backend=name, weights="bf16")
    with pytest.raises(InputError, match="weights is 'int2'"):
        Critic.load(everything, backend="hf", weights="int2")


def test_an_adapter_in_a_bundle(checkpoint: Path, tmp_path: Path, torch_threads: None) -> None:
    from peft import LoraConfig
    from safetensors.torch import save_file
    from torch import ones

    adapter = tmp_path / "adapter"
    LoraConfig(r=1, target_modules=r".*language_model.*layers\.0.*q_proj").save_pretrained(
        str(adapter)
    )
    name = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    weights = {f"{name}.lora_A.weight": ones(1, 64), f"{name}.lora_B.weight": ones(64, 1)}
    save_file(weights, adapter / "adapter_model.safetensors")
    masses = []
    for number, folder in enumerate((None, adapter)):
        bundle = write_hf_bundle(checkpoint, tmp_path / str(number), folder)
        with Critic.load(bundle, device="cpu", threads=1) as critic:
            assert critic.info.name == "hf"
            masses.append(critic.score(None, QUESTION, "a 7", rationale=False).mass)
    assert masses[0] != masses[1]
