"""What only the transformers backend does: it is the reference, and it opens foreign folders."""

from __future__ import annotations

import dataclasses
import gc
import json
import re
import shutil
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionImageProcessor

import tiny_checkpoints
from edgecritic.backends.base import Append, Cancelled, CancelToken, FloatArray, Span, TextSpan
from edgecritic.backends.hf import HfBackend
from edgecritic.backends.hf import loading as hf_loading
from edgecritic.backends.hf.artifacts import find_folders
from edgecritic.backends.options import EngineOptions, Weights
from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    InputError,
    MissingExtraError,
)
from edgecritic.pictures import PictureEncoder, VisionProfile
from edgecritic.vision import ImageGeometry
from tiny_checkpoints import IMAGE_TOKEN_ID, write_llava_onevision
from tiny_engines import GEOMETRY

OPTIONS = EngineOptions(n_ctx=512, n_threads=1, n_batch=64, max_sequences=8)
WORDS = TextSpan(tuple(range(40, 90)))
BEFORE, AFTER = TextSpan((40, 50, 60, 70)), TextSpan((90, 100, 110))

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def backend(checkpoint: Path, torch_threads: None) -> Iterator[HfBackend]:
    opened = HfBackend(checkpoint, geometry=GEOMETRY, options=OPTIONS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LlavaOnevisionForConditionalGeneration:
    return LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA on the language model's attention, as PEFT writes it."""
    folder = tmp_path_factory.mktemp("adapter")
    base = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint)
    config = LoraConfig(r=4, target_modules=r".*language_model.*(q_proj|v_proj)")
    with warnings.catch_warnings():  # peft calls what transformers renamed
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(base, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(str(folder))
    return folder


def decode(backend: HfBackend, *spans: Span) -> FloatArray:
    sequence = backend.open_sequence()
    (logits,) = backend.append([Append(sequence, spans)])
    backend.close_sequence(sequence)
    assert logits is not None
    return logits


def logits_of(model: Any, *tokens: int, **pixels: Any) -> FloatArray:
    with torch.inference_mode():
        found: FloatArray = model(input_ids=torch.tensor([tokens]), **pixels).logits[0, -1].numpy()
    return found


# The reference.


def test_text_as_transformers_reads_it(
    backend: HfBackend, model: LlavaOnevisionForConditionalGeneration
) -> None:
    np.testing.assert_allclose(decode(backend, WORDS), logits_of(model, *WORDS.tokens), atol=2e-5)


@pytest.mark.parametrize("size", [(28, 28), (60, 40), (30, 90), (200, 50), (17, 5)])
def test_pictures_as_transformers_sees_them(
    checkpoint: Path,
    backend: HfBackend,
    model: LlavaOnevisionForConditionalGeneration,
    size: tuple[int, int],
) -> None:
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    newline = model.model.image_newline.detach().numpy()
    encoder = PictureEncoder(backend, VisionProfile(GEOMETRY, newline, "tower"))
    (span,) = encoder.spans(picture)
    pixels = LlavaOnevisionImageProcessor.from_pretrained(checkpoint)(picture, return_tensors="pt")
    tokens = (*BEFORE.tokens, *[IMAGE_TOKEN_ID] * len(span), *AFTER.tokens)
    expected = logits_of(model, *tokens, **pixels)
    np.testing.assert_allclose(decode(backend, BEFORE, span, AFTER), expected, atol=1e-4)
    assert np.abs(expected - logits_of(model, *BEFORE.tokens, *AFTER.tokens)).max() > 0.1


def test_an_adapter_as_peft_applies_it(checkpoint: Path, adapter: Path, backend: HfBackend) -> None:
    base = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        reference = PeftModel.from_pretrained(base, adapter).eval()
    expected = logits_of(reference, *WORDS.tokens)
    adapted = HfBackend(checkpoint, adapter=adapter, geometry=GEOMETRY, options=OPTIONS)
    found = decode(adapted, WORDS)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(found - decode(backend, WORDS)).max() > 0.1
    tiles = np.zeros((1, 28, 28, 3), dtype=np.uint8)
    np.testing.assert_array_equal(adapted.encode_tiles(tiles), backend.encode_tiles(tiles))
    adapted.close()


def test_shards_as_one_file(backend: HfBackend, tmp_path: Path) -> None:
    write_llava_onevision(tmp_path, shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    opened = HfBackend(tmp_path, options=OPTIONS)
    np.testing.assert_array_equal(decode(opened, WORDS), decode(backend, WORDS))
    opened.close()


@pytest.mark.parametrize(
    ("weights", "dtype", "tolerance"),
    [
        ("auto", torch.float32, 1e-6),
        ("fp32", torch.float32, 1e-6),
        ("bf16", torch.bfloat16, 0.2),
        ("fp16", torch.float16, 0.03),
    ],
)
def test_weights_in_another_precision(
    checkpoint: Path, backend: HfBackend, weights: Weights, dtype: torch.dtype, tolerance: float
) -> None:
    options = dataclasses.replace(OPTIONS, weights=weights)
    opened = HfBackend(checkpoint, geometry=GEOMETRY, options=options)
    loaded = opened._loaded
    assert loaded is not None
    assert loaded.model.memory._values.dtype is dtype
    np.testing.assert_allclose(decode(opened, WORDS), decode(backend, WORDS), atol=tolerance)
    tiles = np.random.default_rng(2).integers(0, 256, (1, 28, 28, 3), dtype=np.uint8)
    expected = backend.encode_tiles(tiles)
    np.testing.assert_allclose(opened.encode_tiles(tiles), expected, atol=tolerance)
    opened.close()


def test_auto_is_what_is_stored(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path, dtype="bfloat16")
    opened = HfBackend(tmp_path, options=OPTIONS)
    loaded = opened._loaded
    assert loaded is not None
    assert loaded.model.memory._values.dtype is torch.bfloat16
    assert np.isfinite(decode(opened, WORDS)).all()
    opened.close()


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantized_weights_need_bitsandbytes(
    checkpoint: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_loading, "find_spec", lambda name: None if "bits" in name else name)
    with pytest.raises(MissingExtraError, match=f"weights='{weights}' needs bitsandb") as caught:
        HfBackend(checkpoint, options=dataclasses.replace(OPTIONS, weights=weights))
    assert "pip install bitsandbytes" in caught.value.hint


@pytest.mark.parametrize(("weights", "stored"), [("int8", torch.int8), ("int4", torch.uint8)])
def test_quantized_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Weights, stored: torch.dtype
) -> None:
    # Blocks of 64 weights must end where rows end, on a CPU.
    monkeypatch.setitem(tiny_checkpoints.TEXT_SHAPE, "intermediate_size", 128)
    write_llava_onevision(tmp_path)
    options = dataclasses.replace(OPTIONS, weights=weights)
    exact = HfBackend(tmp_path, geometry=GEOMETRY, options=OPTIONS)
    opened = HfBackend(tmp_path, geometry=GEOMETRY, options=options)
    loaded = opened._loaded
    assert loaded is not None
    model = loaded.model._model
    assert model.model.language_model.layers[0].mlp.up_proj.weight.dtype is stored
    assert model.lm_head.weight.dtype is torch.bfloat16
    tiles = np.random.default_rng(2).integers(0, 256, (1, 28, 28, 3), dtype=np.uint8)
    # A tower in four bits would be ten times further away.
    np.testing.assert_allclose(opened.encode_tiles(tiles), exact.encode_tiles(tiles), atol=0.1)
    expected, found = (np.exp(decode(backend, WORDS)) for backend in (exact, opened))
    expected, found = expected / expected.sum(), found / found.sum()
    assert 0 < float((expected * np.log(expected / found)).sum()) < 0.2
    for backend in (exact, opened):
        backend.close()


def test_a_quantized_tower_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = transformers.BitsAndBytesConfig

    def forgetful(*, llm_int8_skip_modules: list[str], **settings: Any) -> Any:
        assert "model.vision_tower" in llm_int8_skip_modules
        return real(**settings)

    monkeypatch.setattr(transformers, "BitsAndBytesConfig", forgetful)
    with pytest.raises(BackendUnavailableError, match="would not see pictures"):
        HfBackend(checkpoint, options=dataclasses.replace(OPTIONS, weights="int4"))


# Cancelling, closing, threads, devices.


class StopsWithin(CancelToken):
    """Asks to stop at the third look: the first is before the chunk, then before each layer."""

    looks = 0

    @property
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks == 3


def test_cancelling_within_a_chunk(backend: HfBackend) -> None:
    expected = decode(backend, WORDS)
    sequence = backend.open_sequence()
    token = StopsWithin()
    with pytest.raises(Cancelled):
        backend.append([Append(sequence, (WORDS,))], token)
    assert token.looks == 3
    backend.close_sequence(sequence)
    np.testing.assert_array_equal(decode(backend, WORDS), expected)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "does not hold"),
        (
            RuntimeError("CUDA error: device lost\nmore"),
            "2 positions: CUDA error: device lost$",
        ),
    ],
)
def test_a_gpu_that_is_full_or_gone_is_told(
    backend: HfBackend, monkeypatch: pytest.MonkeyPatch, raised: RuntimeError, message: str
) -> None:
    def fail(*_inputs: object) -> None:
        raise raised

    loaded = backend._require_open().model
    sequence = backend.open_sequence()
    hook = loaded._layers[0].register_forward_pre_hook(fail)
    with pytest.raises(BackendUnavailableError) as told:
        backend.append([Append(sequence, (TextSpan((1, 2)),))])
    hook.remove()
    assert re.search(message, told.value.message)
    backend.close_sequence(sequence)


def test_closing_lets_everything_go(checkpoint: Path) -> None:
    opened = HfBackend(checkpoint, geometry=GEOMETRY, options=OPTIONS)
    decode(opened, WORDS)
    loaded = opened._loaded
    assert loaded is not None
    held = weakref.ref(loaded.model._model)
    del loaded
    opened.close()
    gc.collect()
    assert held() is None


def test_threads_are_torchs_unless_asked_for(checkpoint: Path, torch_threads: None) -> None:
    torch.set_num_threads(2)
    HfBackend(checkpoint, options=dataclasses.replace(OPTIONS, n_threads=None)).close()
    assert torch.get_num_threads() == 2
    HfBackend(checkpoint, options=OPTIONS).close()
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without one")
def test_a_gpu_where_there_is_none(checkpoint: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="torch sees no GPU"):
        HfBackend(checkpoint, options=dataclasses.replace(OPTIONS, device="gpu"))


def test_without_geometry_it_reads_text_only(checkpoint: Path) -> None:
    opened = HfBackend(checkpoint, options=OPTIONS)
    with pytest.raises(InputError, match="text only"):
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    opened.close()


def test_features_that_are_not_finite(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("linear_2.bias"))
    weights[name] = torch.full_like(weights[name], torch.inf)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    opened = HfBackend(folder, geometry=GEOMETRY, options=OPTIONS)
    with pytest.raises(BackendUnavailableError, match="not finite"):
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    opened.close()


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_the_engine_is_not_installed(
    checkpoint: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_loading, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(MissingExtraError, match=f"needs {package}") as caught:
        HfBackend(checkpoint, options=OPTIONS)
    assert "edgecritic[hf]" in caught.value.hint


def test_nothing_is_said_on_stderr(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    HfBackend(checkpoint, geometry=GEOMETRY, options=OPTIONS).close()
    assert capfd.readouterr() == ("", "")


# Folders that transformers must never see, or must refuse.


def setting(name: str, value: object) -> Edit:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {name: value}))

    return edit


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def a_tensor_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if name.endswith("up_proj.weight")))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def a_tensor_more(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors") | {"surplus.weight": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def another_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("up_proj.weight"))
    weights[name] = weights[name][1:].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def an_adapter_inside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def shards_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def shards_without_names(folder: Path) -> None:
    no_weights(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')


DAMAGES: list[tuple[str, Edit, str]] = [
    ("another model", setting("model_type", "llava"), "is of model type 'llava'"),
    ("own code", setting("auto_map", {"AutoModel": "evil.Model"}), "code of its own"),
    ("no width", setting("text_config", {"hidden_size": "64"}), "text_config.hidden_size is '64'"),
    ("pickled", pickled, "no model.safetensors, only pytorch_model.bin"),
    ("no weights", no_weights, r"has no model\.safetensors"),
    ("half", half_the_weights, "transformers does not open"),
    ("a tensor less", a_tensor_less, "1 missing keys"),
    ("a tensor more", a_tensor_more, "1 unexpected keys, surplus.weight"),
    ("another shape", another_shape, "does not open|mismatched"),
    ("no config", no_config, r"config\.json cannot be read"),
    ("no tokenizer", no_tokenizer, r"tokenizer\.json cannot be read"),
    ("an adapter inside", an_adapter_inside, "a model and an adapter at once"),
    ("shards elsewhere", shards_elsewhere, r"names '\.\./outside\.safetensors'"),
    ("shards without names", shards_without_names, "names no files"),
]


@pytest.mark.parametrize(
    ("edit", "message"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES]
)
def test_unfit_folders(checkpoint: Path, tmp_path: Path, edit: Edit, message: str) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    edit(folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        HfBackend(folder, geometry=GEOMETRY, options=OPTIONS)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"]
)
def test_files_that_are_not_listed_are_not_read(checkpoint: Path, name: str) -> None:
    listed = [path for path in checkpoint.iterdir() if path.name != name]
    with pytest.raises(ArtifactError, match=rf"{name} would be read, and critic\.json does not"):
        HfBackend(checkpoint, listed=listed, options=OPTIONS)


def test_tiles_of_another_bundle(checkpoint: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tiles of 28 pixels .* the bundle's are tiles of 56"):
        HfBackend(checkpoint, geometry=ImageGeometry(56, 7, ((56, 56),)), options=OPTIONS)


def no_adapter_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def no_lora(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')


def a_larger_adapter(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: torch.cat([value, value]) for name, value in weights.items()},
        folder / "adapter_model.safetensors",
    )


def an_adapter_of_another_model(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    renamed = {name.replace("layers.1", "layers.7"): value for name, value in weights.items()}
    save_file(renamed, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (no_adapter_weights, "only adapter_model.bin"),
        (no_lora, "is no LoRA"),
        (a_larger_adapter, "peft does not apply"),
        (an_adapter_of_another_model, "does not fit"),
    ],
)
def test_unfit_adapters(
    checkpoint: Path, adapter: Path, tmp_path: Path, edit: Edit, message: str
) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        HfBackend(checkpoint, adapter=folder, options=OPTIONS)
    assert caught.value.hint


def test_peft_is_not_installed(
    checkpoint: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_loading, "find_spec", lambda name: None if name == "peft" else name)
    with pytest.raises(MissingExtraError, match="needs peft"):
        HfBackend(checkpoint, adapter=adapter, options=OPTIONS)


def test_one_model_and_one_adapter_make_a_bundle(tmp_path: Path) -> None:
    model = [tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors"]
    adapter = tmp_path / "adapter" / "adapter_model.safetensors"
    assert find_folders(tmp_path, model) == (tmp_path, None)
    assert find_folders(tmp_path, [*model, adapter]) == (tmp_path, adapter.parent)
    for files in (
        [adapter],
        [*model, tmp_path / "other" / "model.safetensors"],
        [*model, adapter, tmp_path / "b" / "adapter_model.safetensors"],
    ):
        with pytest.raises(ArtifactError, match="folders"):
            find_folders(tmp_path, files)
