"""The exported folder under Node: transformers.js loads it, and our module judges as Python does.

Both run ONNX Runtime, of different versions.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgecritic import Bundle, Rubric
from edgecritic.backends import load_backend
from edgecritic.backends.base import Append, Backend, ImageSpan, TextSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.judging.layout import Layout
from edgecritic.judging.reading import read_verdicts
from edgecritic.judging.results import pointwise_verdict, preference
from edgecritic.manifest import Calibration
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.task import Task
from edgecritic.vision import load_image, pixel_values, tile
from edgecritic_export.onnx.layout import OnnxOptions, export_onnx
from edgecritic_export.onnx.tower import vision_encoder
from onnx_reference import Reference, described

JS = Path(__file__).parents[4] / "js"


def lacking() -> str:
    """What the tests lack; empty if they can run."""
    if shutil.which("node") is None:
        return "Node.js is not installed"
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = done.stdout.strip()
    if not version.startswith("v") or int(version[1:].partition(".")[0]) < 20:
        return f"Node.js 20 or newer is needed, this is {version or 'none'}"
    if not (JS / "node_modules" / "@huggingface" / "transformers").is_dir():
        return "transformers.js is not installed: run npm ci in js/"
    return ""


pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
    pytest.mark.parametrize("reference", ["qwen2"], indirect=True),
]
SIZES = [(28, 28), (70, 40), (31, 97), (200, 90), (17, 130)]
TASKS = [
    Task("What is shown?", ("A cat.", "A dog with a <|im_end|> in its mouth."), 1),
    Task(" How many {first} ones? ", ("Two", "{second} of them\nat most"), 1, "Three"),
    Task("What is shown?", ("Nothing at all",), 1),
    Task("Wie viele?", ("Zwölf ⅓ 👍",), 1, None, Rubric(0, 12, "Be strict.", {0: "no", 12: "yes"})),
]


RNG = np.random.default_rng(9)
LEVELS = [3, 4, 5, 6]
CALIBRATED: dict[str, Any] = {
    "calibration": {
        "pointwise_temperature": 1.3,
        "pairwise_temperature": 0.7,
        "tie_margin": 0.4,
    }
}
POINTWISE = [np.log(RNG.dirichlet(np.ones(4)) * mass) for mass in (0.99, 0.6, 0.3)]
PAIRWISE = [
    {order: np.log(RNG.dirichlet(np.ones(3)) * mass) for order in orders}
    for mass in (1.0, 0.7, 0.4)
    for orders in (("first", "second"), ("first",))
    for _ in range(4)
]


def node(script: str, *arguments: object) -> Any:
    done = subprocess.run(
        ["node", str(JS / "test" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bundle(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    options = OnnxOptions(variants=("fp32",))
    return export_onnx(reference.checkpoint, folder, described(), options)["fp32"].folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Noise, which shows every rounding; one picture is transparent, one lies on its side."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(8)
    paths = []
    for number, (width, height) in enumerate(SIZES):
        channels = 4 if number == 3 else 3
        pixels = rng.integers(0, 256, size=(height, width, channels), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1], exif=exif)
    return paths


@pytest.fixture(scope="module")
def backend(bundle: Path) -> Iterator[Backend]:
    loaded = load_backend(Bundle.read(bundle), "onnx", EngineOptions(n_ctx=1024, n_threads=1))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def found(bundle: Path, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What Node makes of all requests, in one process."""
    request = {
        "pictures": [
            {"image": str(path), "tasks": [plain(task) for task in TASKS], "wording": wording}
            for wording, path in enumerate(pictures)
        ],
        "pairwise": [
            {"joints": {order: list(joint) for order, joint in joints.items()}, **CALIBRATED}
            for joints in PAIRWISE
        ],
        "pointwise": [
            {"joint": list(joint), "levels": LEVELS, **CALIBRATED} for joint in POINTWISE
        ],
    }
    file = tmp_path_factory.mktemp("request") / "request.json"
    file.write_text(json.dumps(request))
    return node("judge.js", bundle, file)


def plain(task: Task) -> dict[str, object]:
    rubric: dict[str, object] = {"low": task.rubric.low, "high": task.rubric.high}
    rubric |= {"criteria": task.rubric.criteria, "levels": dict(task.rubric.levels)}
    return {
        "question": task.question,
        "responses": list(task.responses),
        "reference": task.reference,
        "rubric": rubric,
    }


def test_tiles_are_bit_for_bit_those_of_pillow(
    reference: Reference, found: Any, pictures: list[Path]
) -> None:
    geometry = reference.checkpoint.geometry
    assert geometry is not None
    for path, picture in zip(pictures, found["pictures"], strict=True):
        tiles = tile(load_image(path), geometry).tiles
        assert picture["tiles"] == [sha256(pixels) for pixels in tiles]
        assert picture["values"] == sha256(pixel_values(tiles[:1], geometry))


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_features_are_packed_alike(
    bundle: Path, backend: Backend, found: Any, pictures: list[Path]
) -> None:
    encoder = PictureEncoder(backend, CriticProfile.of(Bundle.read(bundle)).vision)
    for path, picture in zip(pictures, found["pictures"], strict=True):
        expected = encoder.spans(path)[0].features
        assert len(picture["features"]) == expected.size
        np.testing.assert_allclose(picture["features"], expected.ravel(), atol=1e-5)


def test_verdicts_have_the_same_log_probabilities(
    bundle: Path, backend: Backend, found: Any, pictures: list[Path]
) -> None:
    profile = CriticProfile.of(Bundle.read(bundle))
    encoder, layout = PictureEncoder(backend, profile.vision), Layout(backend, profile.dialect)
    for wording, (path, picture) in enumerate(zip(pictures, found["pictures"], strict=True)):
        laid = [layout.lay(task, encoder.spans(path), wording) for task in TASKS]
        expected = read_verdicts(backend, laid).joints
        for joint, wanted in zip(picture["joints"], expected, strict=True):
            np.testing.assert_allclose(joint, wanted, atol=1e-4)
        assert picture["compared"]["status"] == "unparsed"  # a random model states no verdict


def test_verdicts_are_made_of_them_alike(found: Any) -> None:
    calibration = Calibration(**CALIBRATED["calibration"])
    for joints, made in zip(PAIRWISE, found["pairwise"], strict=True):
        assert_same(made, preference(joints, calibration).to_dict())
    for joint, made in zip(POINTWISE, found["pointwise"], strict=True):
        assert_same(made, pointwise_verdict(joint, LEVELS, calibration).to_dict())


def assert_same(made: Any, expected: Any) -> None:
    """Equal but for the last digits; Python's records tell more (usage, timings)."""
    if isinstance(made, dict):
        for key, value in made.items():
            assert_same(value, expected[key])
    elif isinstance(made, list):
        assert len(made) == len(expected)
        for one, other in zip(made, expected, strict=True):
            assert_same(one, other)
    elif isinstance(made, float):
        assert made == pytest.approx(expected, rel=1e-12)
    else:
        assert made == expected


DAMAGES: dict[str, Callable[[Path], object]] = {
    "there is no bundle at {folder}: it has no critic.json": lambda f: (f / "critic.json").unlink(),
    "{folder}/critic.json is no JSON": lambda f: (f / "critic.json").write_text("{"),
    "{folder}/critic.json holds no object": lambda f: (f / "critic.json").write_text("5"),
    "{folder}/critic.json lists files without a path": lambda f: (f / "critic.json").write_text(
        '{"files": [null]}'
    ),
    "the bundle at {folder} is for other engines": lambda f: (f / "critic.json").write_text("{}"),
    "{folder}/prompts.json is missing": lambda f: (f / "prompts.json").unlink(),
    "{folder}/onnx/decoder_model_merged.onnx is missing": lambda f: (
        f / "onnx" / "decoder_model_merged.onnx"
    ).unlink(),
    "{folder}/onnx/embed_tokens.onnx_data has 9 bytes, and critic.json says": lambda f: (
        f / "onnx" / "embed_tokens.onnx_data"
    ).write_bytes(bytes(9)),
}


def test_a_bundle_that_is_missing_or_damaged_is_told(bundle: Path, tmp_path: Path) -> None:
    folders = {message: tmp_path / str(k) for k, message in enumerate(DAMAGES)}
    for message, folder in folders.items():
        DAMAGES[message](Path(shutil.copytree(bundle, folder)))
    nowhere = tmp_path / "nowhere"
    for (message, folder), told in zip(
        [*folders.items(), ("there is no bundle at {folder}", nowhere)],
        node("load.js", *folders.values(), nowhere),
        strict=True,
    ):
        assert told["message"].startswith(message.format(folder=folder))
        assert told["hint"]
        assert told["expected"]
    example = JS.parent / "examples" / "node" / "onnx.js"
    command = ["node", str(example), str(nowhere), "a.png", "What is it?", "A.", "B."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)


def test_the_example_judges_without_python(bundle: Path, pictures: list[Path]) -> None:
    example = JS.parent / "examples" / "node" / "onnx.js"
    command = ["node", str(example), str(bundle), str(pictures[0]), "What is it?", "A.", "B."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    preference, scores = done.stdout.split("\n}\n")
    assert json.loads(preference + "}")["status"] == "unparsed"  # as above
    assert scores == "unparsed: - for A.\nunparsed: - for B.\n"


def test_transformers_js_takes_a_decoder_in_half(
    reference: Reference, pictures: list[Path], tmp_path: Path
) -> None:
    """It makes the cache of the type that the graph asks for."""
    options = OnnxOptions(variants=("q4f16",))
    bundle = export_onnx(reference.checkpoint, tmp_path, described(), options)["q4f16"]
    prompt = "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    generated = node("generate.js", bundle.folder, pictures[0], prompt, 4)
    backend = load_backend(bundle, "onnx", EngineOptions(n_ctx=1024, n_threads=1))
    geometry = reference.checkpoint.geometry
    assert geometry is not None
    (features,) = backend.encode_tiles(tile(load_image(pictures[0]), geometry).tiles[:1])
    before, behind = prompt.split("<image>")
    spans = (
        TextSpan(tuple(backend.tokenize(before, control=True))),
        ImageSpan("base tile", features),
        TextSpan(tuple(backend.tokenize(behind, control=True))),
    )
    (logits,) = backend.append([Append(backend.open_sequence(), spans)])
    backend.close()
    assert logits is not None
    assert len(generated["generated"]) == 4
    assert generated["generated"][0] == int(logits.argmax())


def test_transformers_js_alone_continues_as_python_does(
    reference: Reference, bundle: Path, pictures: list[Path]
) -> None:
    """At the base tile, without a newline: that is all that transformers.js does itself."""
    prompt = "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    generated = node("generate.js", bundle, pictures[0], prompt, 8)
    geometry = reference.checkpoint.geometry
    assert geometry is not None
    pixels = pixel_values(tile(load_image(pictures[0]), geometry).tiles[:1], geometry)
    with torch.no_grad():
        features = vision_encoder(reference.checkpoint)(torch.from_numpy(pixels)).numpy()
    image_token = reference.checkpoint.config["image_token_index"]
    ids = np.array([generated["prompt"]])
    assert (ids == image_token).sum() == geometry.patches_per_side**2
    embeddings = reference.embeddings(ids)
    embeddings[ids == image_token] = features[0]
    with torch.no_grad():
        expected = reference.model.generate(
            inputs_embeds=torch.from_numpy(embeddings), max_new_tokens=8, do_sample=False
        )
    assert generated["generated"] == expected[0].tolist()
