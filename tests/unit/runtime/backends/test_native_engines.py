"""A Qwen2.5-VL as GGUF and in transformers: the same verdicts, whatever the pictures.

Measured: probabilities differ by 6e-6 with F32 files and 5e-4 with F16 ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecritic import ArtifactError, Bundle, Critic, InputError
from edgecritic.backends import load_backend
from edgecritic.backends.base import Append, Backend, ImageSpan, TextSpan
from edgecritic.backends.hf import HfBackend
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ContextOverflowError, ImageError
from edgecritic.judging.layout import Layout
from edgecritic.pictures import NativeVision, PictureEncoder, VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.task import Task
from edgecritic.verdict import Preference
from edgecritic.vision import NativeGeometry
from tiny_checkpoints import FIRST_SPECIAL, SPECIAL_TOKENS, write_qwen2_5_vl
from tiny_engines import GEOMETRY, write_gguf_bundle, write_hf_bundle

OPTIONS = EngineOptions(
    n_ctx=1024, n_threads=1, device="cpu", n_batch=64, cache_type="F32", flash_attention=False
)
QUESTION = "Which digit is this?"
RESPONSES = ("a 7", "the digit is an 8, drawn in red", "")
SHAPES = [(56, 56), (250, 140), (90, 260), (30, 290), (500, 320)]  # width, height


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Noise in large patches, which a resize does not grey out."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return patches.resize(size, Image.Resampling.NEAREST)


REQUESTS: list[Any] = [
    *(picture(seed, size) for seed, size in enumerate(SHAPES)),
    [picture(7, (250, 140)), picture(8, (84, 60))],
    [picture(9, (56, 90)), picture(9, (56, 90)), picture(10, (300, 40))],
    None,
]


@pytest.fixture(scope="module", autouse=True)
def readable() -> Iterator[None]:
    """A random model states no verdicts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecritic.scoring.MIN_MASS", 0.0)
        yield


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_qwen2_5_vl(folder)
    return folder


@pytest.fixture(scope="module")
def bundles(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    out = tmp_path_factory.mktemp("bundles")
    return {
        "hf": write_hf_bundle(qwen, out / "hf"),
        "F32": write_gguf_bundle(qwen, out / "F32"),
        "F16": write_gguf_bundle(qwen, out / "F16", "F16"),
    }


def opened(bundle: Bundle, options: EngineOptions = OPTIONS) -> Critic:
    name = "hf" if bundle.manifest.formats == ("hf",) else "llamacpp"
    return Critic(load_backend(bundle, name, options), CriticProfile.of(bundle))


@pytest.fixture(scope="module")
def critics(bundles: dict[str, Bundle], torch_threads: None) -> Iterator[dict[str, Critic]]:
    made = {name: opened(bundle) for name, bundle in bundles.items()}
    yield made
    for critic in made.values():
        critic.close()


@pytest.fixture(scope="module", params=["hf", "F32"])
def backend(
    request: pytest.FixtureRequest, bundles: dict[str, Bundle], torch_threads: None
) -> Iterator[Backend]:
    name = "hf" if request.param == "hf" else "llamacpp"
    loaded = load_backend(bundles[request.param], name, replace(OPTIONS, n_ctx=256))
    yield loaded
    loaded.close()


def numbers(preference: Preference) -> list[float]:
    assert preference.status == "ok"
    found = [preference.probabilities[name] for name in ("first", "second", "tie")]
    for order in preference.orders:
        found += [order.probabilities[name] for name in ("first", "second", "tie")]
    return found


@pytest.mark.parametrize(("name", "tolerance"), [("F32", 1e-4), ("F16", 5e-3)])
@pytest.mark.parametrize("request_", REQUESTS, ids=[*map(str, SHAPES), "two", "three", "text"])
def test_verdicts(critics: dict[str, Critic], name: str, tolerance: float, request_: Any) -> None:
    expected = critics["hf"].compare(request_, QUESTION, *RESPONSES[:2], rationale=False)
    found = critics[name].compare(request_, QUESTION, *RESPONSES[:2], rationale=False)
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=tolerance)
    assert found.usage.prompt_tokens == expected.usage.prompt_tokens
    assert found.usage.image_tokens == expected.usage.image_tokens
    assert found.winner == expected.winner


def test_pictures_matter(critics: dict[str, Critic]) -> None:
    """Otherwise the agreement above would say little."""
    verdicts = [
        numbers(critics["hf"].compare(seen, QUESTION, *RESPONSES[:2], rationale=False))
        for seen in REQUESTS
    ]
    assert min(np.abs(np.subtract(one, verdicts[0])).max() for one in verdicts[1:]) > 0.005


def test_rationales(critics: dict[str, Critic]) -> None:
    found = [
        critics[name].score(REQUESTS[5], QUESTION, "a 7", max_rationale_tokens=12)
        for name in ("hf", "F32")
    ]
    assert found[0].rationale == found[1].rationale != ""


@pytest.mark.parametrize("max_sequences", [2, 3, 32])
def test_a_tree_of_prompts_decides_as_single_ones_do(
    bundles: dict[str, Bundle], critics: dict[str, Critic], max_sequences: int
) -> None:
    """Forks behind pictures, in as few sequences as there may be."""
    single = {
        (i, j): critics["F32"].compare(
            REQUESTS[5], QUESTION, RESPONSES[i], RESPONSES[j], rationale=False
        )
        for i, j in ((0, 1), (0, 2), (1, 2))
    }
    with opened(bundles["F32"], replace(OPTIONS, max_sequences=max_sequences)) as critic:
        ranking = critic.rank(REQUESTS[5], QUESTION, RESPONSES)
    for i, j, preference in ranking.preferences:
        np.testing.assert_allclose(numbers(preference), numbers(single[i, j]), atol=2e-4)
    usage = ranking.usage
    assert usage.decoded_tokens < usage.prompt_tokens / 2 or max_sequences == 2


def test_prompts_frame_each_picture(bundles: dict[str, Bundle], backend: Backend) -> None:
    profile = CriticProfile.of(bundles["F32"])
    pictures = PictureEncoder(backend, profile.vision).spans(REQUESTS[5])
    laid = Layout(backend, profile.dialect).lay(Task(QUESTION, ("a 7",), 2), pictures, 0)
    start, end = (
        FIRST_SPECIAL + SPECIAL_TOKENS.index(name)
        for name in ("<|vision_start|>", "<|vision_end|>")
    )
    kinds = [span if isinstance(span, ImageSpan) else span.tokens for span in laid.spans]
    at = kinds.index(pictures[0])
    assert kinds[at - 1][-1:] == (start,)
    assert kinds[at + 1] == (end,)
    assert kinds[at + 2] == (start,)
    assert kinds[at + 3] == pictures[1]
    assert kinds[at + 4] == (end,)
    assert backend.tokenize("Question", control=False) == list(kinds[at + 5][:8])


def test_cells_are_counted_and_not_positions(backend: Backend) -> None:
    span = ImageSpan("grid", np.zeros((12, 64), dtype=np.float32), (3, 4))
    sequence = backend.open_sequence()
    backend.append([Append(sequence, (TextSpan((1, 2)), span))])
    assert backend.length(sequence) == 14
    backend.append([Append(sequence, (TextSpan((3,)),))])
    assert backend.length(sequence) == 15
    wide = ImageSpan("wide", np.zeros((240, 64), dtype=np.float32), (2, 120))
    with pytest.raises(ContextOverflowError):  # it would take 120 positions only
        backend.append([Append(sequence, (wide, TextSpan((0,) * 2)))])
    backend.close_sequence(sequence)


@pytest.mark.parametrize("grid", [None, (2, 3), (3, 4), (0, 0)])
def test_features_must_stand_in_their_grid(backend: Backend, grid: tuple[int, int] | None) -> None:
    sequence = backend.open_sequence()
    features = np.zeros((7, 64), dtype=np.float32)
    with pytest.raises(InputError, match="positions have rows and columns"):
        backend.append([Append(sequence, (ImageSpan("odd", features, grid),))])
    assert backend.length(sequence) == 0
    backend.close_sequence(sequence)


def test_pictures_that_fill_the_context(bundles: dict[str, Bundle], backend: Backend) -> None:
    encoder = PictureEncoder(backend, CriticProfile.of(bundles["F32"]).vision)
    with pytest.raises(ContextOverflowError, match="take 300 tokens, and the context has 256"):
        encoder.spans([picture(1, (280, 168))] * 5)
    assert encoder.cache.misses == 0


def test_pictures_of_a_wrong_size(backend: Backend) -> None:
    with pytest.raises(ImageError, match="multiples of 28"):
        backend.encode_tiles(np.zeros((1, 28, 30, 3), dtype=np.uint8))
    assert backend.encode_tiles(np.zeros((2, 28, 56, 3), dtype=np.uint8)).shape == (2, 2, 64)


def test_a_geometry_of_the_other_kind(backend: Backend) -> None:
    newline = np.zeros(64, dtype=np.float32)
    with pytest.raises(
        ArtifactError, match="seen in tiles, and the language model's positions have"
    ):
        PictureEncoder(backend, VisionProfile(GEOMETRY, newline, "tower"))


def test_prompts_that_do_not_frame_pictures(bundles: dict[str, Bundle]) -> None:
    profile = CriticProfile.of(bundles["F32"])
    with pytest.raises(ArtifactError, match=r"edgecritic-v1@.* do not tell where a picture begins"):
        replace(profile, dialect=load_dialect("edgecritic-v1"))


def test_a_tower_of_the_other_kind(
    bundles: dict[str, Bundle], gguf_bundle: Bundle, qwen: Path
) -> None:
    model, tower = bundles["F32"].file("language_model"), bundles["F32"].file("mmproj")
    with pytest.raises(ArtifactError, match=r"'mlp' is not 'qwen2\.5vl_merger'"):
        LlamaCppBackend(model, mmproj=gguf_bundle.file("mmproj"), options=OPTIONS)
    with pytest.raises(ArtifactError, match=r"'qwen2\.5vl_merger' is not 'mlp'"):
        LlamaCppBackend(gguf_bundle.file("language_model"), mmproj=tower, options=OPTIONS)
    with pytest.raises(ArtifactError, match="pictures of any size in patches of 14, the bundle's"):
        HfBackend(qwen, geometry=GEOMETRY, options=OPTIONS)
    with pytest.raises(ArtifactError, match="in patches of 7"):
        HfBackend(qwen, geometry=NativeGeometry(7, 2, 400, 9000), options=OPTIONS)


def test_a_critic_of_tiles_refuses_rows_and_columns(gguf_bundle: Bundle) -> None:
    loaded = load_backend(gguf_bundle, "llamacpp", OPTIONS)
    span = ImageSpan("grid", np.zeros((12, 64), dtype=np.float32), (3, 4))
    with pytest.raises(InputError, match="positions have no rows and columns"):
        loaded.append([Append(loaded.open_sequence(), (span,))])
    with pytest.raises(ArtifactError, match="seen as they are"):
        PictureEncoder(loaded, NativeVision(NativeGeometry(14, 2, 3136, 47_040), "tower"))
    loaded.close()


def test_flat_configurations_of_older_checkpoints(
    critics: dict[str, Critic], qwen: Path, tmp_path: Path, torch_threads: None
) -> None:
    older = Path(shutil.copytree(qwen, tmp_path / "older"))
    config = json.loads((older / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["rope_theta"]
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    config |= {key: value for key, value in text.items() if key != "model_type"}
    (older / "config.json").write_text(json.dumps(config))
    with opened(write_hf_bundle(older, tmp_path / "bundle")) as critic:
        found = critic.compare(REQUESTS[1], QUESTION, *RESPONSES[:2], rationale=False)
    expected = critics["hf"].compare(REQUESTS[1], QUESTION, *RESPONSES[:2], rationale=False)
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-6)
