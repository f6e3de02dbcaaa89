"""Checkpoint folders of all families and layouts, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

from edgecritic.errors import ArtifactError
from edgecritic.vision import NativeGeometry
from edgecritic_export.checkpoints.families import NAMES, load_family
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.text_shape import read_text_shape
from tiny_adapters import write_adapter
from tiny_checkpoints import PINPOINTS, write_llava_onevision, write_qwen2_5_vl

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    write_llava_onevision(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    write_qwen2_5_vl(folder)
    return folder


@pytest.fixture
def changeable(llava: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llava, tmp_path / "changeable"))


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)


def test_llava_onevision(llava: Path) -> None:
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(llava)
    text = model.config.text_config
    with Checkpoint.open(llava) as checkpoint:
        assert checkpoint.family == "llava_onevision"
        shape = checkpoint.text
        assert (shape.architecture, shape.n_layers, shape.n_embd) == ("qwen2", 2, 64)
        assert (shape.n_head, shape.n_head_kv, shape.head_dim, shape.n_ff) == (4, 2, 16, 96)
        assert (shape.rms_eps, shape.rope_theta) == (text.rms_norm_eps, 10_000.0)
        assert (shape.n_vocab, shape.n_ctx, shape.tied) == (272, 2048, False)
        geometry = checkpoint.geometry
        assert geometry is not None
        assert (geometry.tile_size, geometry.patch_size, geometry.anyres_max) == (28, 7, 3)
        assert [list(pair) for pair in geometry.pinpoints] == PINPOINTS
        newline = checkpoint.image_newline
        assert newline is not None
        np.testing.assert_array_equal(newline, model.model.image_newline.detach().numpy())
        state = model.state_dict()
        for short, stored in checkpoint.language_tensors().items():
            key = short if short == "lm_head.weight" else f"model.language_model.{short[6:]}"
            np.testing.assert_array_equal(checkpoint.store.read(stored), state[key].numpy())
        for short, stored in checkpoint.vision_tensors().items():
            expected = state[f"model.vision_tower.{short}"].numpy()
            np.testing.assert_array_equal(checkpoint.store.read(stored), expected)
        names = {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}
        assert checkpoint.projector_tensors().keys() == names


def test_qwen2_5_vl(qwen: Path) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen)
    state = model.state_dict()
    with Checkpoint.open(qwen) as checkpoint:
        assert checkpoint.family == "qwen2_5_vl"
        assert checkpoint.geometry == NativeGeometry(14, 2, 56 * 56, 60 * 28 * 28)
        assert checkpoint.image_newline is None
        assert checkpoint.text.mrope_section == (2, 3, 3)
        assert checkpoint.text.rope_theta == 1e6
        for short, stored in checkpoint.language_tensors().items():
            key = short if short == "lm_head.weight" else f"model.language_model.{short[6:]}"
            np.testing.assert_array_equal(checkpoint.store.read(stored), state[key].numpy())
        for prefix, part in (
            ("model.visual.", checkpoint.vision_tensors()),
            ("model.visual.merger.", checkpoint.projector_tensors()),
        ):
            for short, stored in part.items():
                expected = state[f"{prefix}{short}"].numpy()
                np.testing.assert_array_equal(checkpoint.store.read(stored), expected)


def renamed(folder: Path, rename: Callable[[str], str]) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({rename(name): tensor for name, tensor in state.items()}, folder / WEIGHTS)


def older_llava(name: str) -> str:
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def loaded_llava(name: str) -> str:
    name = name.replace("language_model.model.", "language_model.")
    name = name.replace("language_model.lm_head.", "lm_head.")
    return name if name.startswith("lm_head.") else f"model.{name}"


def loaded_qwen(name: str) -> str:
    if name.startswith("model."):
        return name.replace("model.", "model.language_model.", 1)
    return name if name.startswith("lm_head.") else f"model.{name}"


@pytest.mark.parametrize(
    ("family", "rename"),
    [("llava", older_llava), ("llava", loaded_llava), ("qwen", loaded_qwen)],
)
def test_every_layout_gives_the_same_short_names(
    family: str,
    rename: Callable[[str], str],
    llava: Path,
    qwen: Path,
    tmp_path: Path,
) -> None:
    folder = {"llava": llava, "qwen": qwen}[family]
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    renamed(other, rename)
    with Checkpoint.open(folder) as expected, Checkpoint.open(other) as found:
        for part in ("language_tensors", "vision_tensors", "projector_tensors"):
            names = getattr(found, part)()
            assert names.keys() == getattr(expected, part)().keys()
            assert set(names.values()) <= set(found.store.names)
        for stored in expected.store.names:
            assert found.stored_name(stored) == rename(stored)
        assert found.stored_name("nothing.weight") is None


def test_flat_configs_of_older_qwen2_5_vl(qwen: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(qwen, tmp_path / "older"))

    def flatten(config: dict[str, Any]) -> None:
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        text["rope_theta"] = rope["rope_theta"]
        text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
        config |= {key: value for key, value in text.items() if key != "model_type"}

    change_config(older, flatten)
    with Checkpoint.open(older) as found, Checkpoint.open(qwen) as expected:
        assert found.text == expected.text
        assert found.geometry == expected.geometry


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, (56 * 56, 28 * 28 * 1280)),  # what transformers takes then
        ({"size": {"shortest_edge": 4000, "longest_edge": 90_000}}, (4000, 90_000)),
        ({"min_pixels": 3136, "max_pixels": 12_845_056}, (3136, 4096 * 28 * 28)),  # the published
    ],
)
def test_bounds_of_pictures_at_their_own_resolution(
    qwen: Path, tmp_path: Path, settings: dict[str, Any] | None, expected: tuple[int, int]
) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "copy"))
    (folder / "preprocessor_config.json").unlink()
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with Checkpoint.open(folder) as checkpoint:
        geometry = checkpoint.geometry
        assert isinstance(geometry, NativeGeometry)
        assert (geometry.min_pixels, geometry.max_pixels) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 16}, "patch_size 16, config.json 14"),
        ({"merge_size": 4}, "merge_size 4, config.json 2"),
        ({"min_pixels": 9000, "max_pixels": 4000}, "ascending"),
        ({"min_pixels": "small"}, "settings cannot be used"),
        ({"max_pixels": "large"}, "settings cannot be used"),
        ({"image_mean": 3}, "settings cannot be used"),
        ({"resample": 0}, "resample"),
    ],
)
def test_image_processors_that_do_not_fit(
    qwen: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "copy"))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ArtifactError, match=message):
        Checkpoint.open(folder)


@pytest.mark.parametrize("text", ["qwen2", "llama"])
def test_a_tied_head_is_no_tensor(tmp_path: Path, text: Any) -> None:
    write_llava_onevision(tmp_path, text=text, tied=True)
    with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.text.tied
        assert checkpoint.text.architecture == text
        assert "lm_head.weight" not in checkpoint.language_tensors()
    embedding = "language_model.model.embed_tokens.weight"
    change_weights(
        tmp_path, lambda s: s.update({"language_model.lm_head.weight": s[embedding].clone()})
    )
    with Checkpoint.open(tmp_path) as checkpoint:
        assert "lm_head.weight" not in checkpoint.language_tensors()
    change_weights(tmp_path, lambda s: s["language_model.lm_head.weight"].mul_(2))
    with pytest.raises(ArtifactError, match="differs from"):
        Checkpoint.open(tmp_path)


def test_numbers_that_older_configs_leave_out(changeable: Path) -> None:
    def leave_out(config: dict[str, Any]) -> None:
        text = config["text_config"]
        for key in ("rms_norm_eps", "rope_parameters", "use_sliding_window", "layer_types"):
            del text[key]
        for key in ("projector_hidden_act", "vision_feature_layer", "tie_word_embeddings"):
            config.pop(key)

    before = Checkpoint.open(changeable)
    change_config(changeable, leave_out)
    with before, Checkpoint.open(changeable) as after:
        assert after.text == before.text


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "family": (lambda c: c.update(model_type="llava_next_video"), "model_type"),
    "tower": (lambda c: c["vision_config"].update(model_type="clip_vision_model"), "model_type"),
    "tower activation": (lambda c: c["vision_config"].update(hidden_act="gelu"), "hidden_act"),
    "projector": (lambda c: c.update(projector_hidden_act="silu"), "projector_hidden_act"),
    "strategy": (lambda c: c.update(vision_feature_select_strategy="default"), "strategy"),
    "several layers": (lambda c: c.update(vision_feature_layer=[-1, -2]), "vision_feature_layer"),
    "absent layer": (lambda c: c.update(vision_feature_layer=-4), "vision_feature_layer"),
    "aspect": (lambda c: c.update(vision_aspect_ratio="pad"), "vision_aspect_ratio"),
    "pinpoints": (lambda c: c.update(image_grid_pinpoints=[[28, 30]]), "image_grid_pinpoints"),
    "language": (lambda c: c["text_config"].update(model_type="gemma"), "gemma"),
    "activation": (lambda c: c["text_config"].update(hidden_act="gelu"), "hidden_act"),
    "window": (
        lambda c: c["text_config"].update(layer_types=["full_attention", "sliding_attention"]),
        "sliding window",
    ),
    "older window": (
        lambda c: c["text_config"].update(
            layer_types=None, use_sliding_window=True, max_window_layers=1
        ),
        "sliding window",
    ),
    "rope": (
        lambda c: c["text_config"].update(rope_parameters={"rope_type": "yarn", "factor": 4}),
        "rope scaling",
    ),
    "older rope": (
        lambda c: c["text_config"].update(
            rope_parameters=None, rope_scaling={"type": "linear", "factor": 2}
        ),
        "rope scaling",
    ),
    "quantised": (lambda c: c.update(quantization_config={"load_in_4bit": True}), "quantised"),
    "layers": (lambda c: c["text_config"].update(num_hidden_layers=3), r"layers\.2\..* is missing"),
    "fewer layers": (lambda c: c["text_config"].update(num_hidden_layers=1), "is not part"),
    "width": (lambda c: c["text_config"].update(intermediate_size=80), r"by config\.json"),
    "nonsense": (lambda c: c["text_config"].update(hidden_size="64"), "hidden_size"),
    "heads": (lambda c: c["text_config"].update(num_key_value_heads=3), "do not fit together"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_engine_computes_is_refused(changeable: Path, case: str) -> None:
    change, message = REFUSED[case]
    change_config(changeable, change)
    with pytest.raises(ArtifactError, match=message) as caught:
        Checkpoint.open(changeable)
    assert caught.value.hint


def test_an_unused_sliding_window_is_none(changeable: Path) -> None:
    change_config(
        changeable,
        lambda c: c["text_config"].update(
            layer_types=None, use_sliding_window=False, sliding_window=128, max_window_layers=0
        ),
    )
    Checkpoint.open(changeable).close()


def test_missing_and_unknown_tensors_are_named(changeable: Path) -> None:
    lost = "vision_tower.encoder.layers.1.mlp.fc1.bias"
    change_weights(changeable, lambda s: s.pop(lost))
    with pytest.raises(ArtifactError, match=r"vision tensor encoder\.layers\.1\.mlp\.fc1\.bias"):
        Checkpoint.open(changeable)
    change_weights(changeable, lambda s: s.update({"score.weight": torch.ones(1)}))
    with pytest.raises(ArtifactError, match=r"score\.weight is no part"):
        Checkpoint.open(changeable)


def test_an_adapters_tensors_have_their_own_hint(changeable: Path) -> None:
    name = "base_model.model.lm_head.lora_A.weight"
    change_weights(changeable, lambda s: s.update({name: torch.ones(1)}))
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(changeable)
    assert "export merge" in caught.value.hint


def test_parts_of_the_tower_that_nothing_reads_may_be_there_or_not(changeable: Path) -> None:
    change_weights(changeable, lambda s: s.pop("vision_tower.post_layernorm.bias"))
    Checkpoint.open(changeable).close()
    change_weights(changeable, lambda s: s.update({"vision_tower.head.probe": torch.ones(1)}))
    Checkpoint.open(changeable).close()


@pytest.mark.parametrize("nested", [False, True])
def test_the_image_processor_is_read_and_compared(changeable: Path, nested: bool) -> None:
    settings = json.loads((changeable / "preprocessor_config.json").read_text())

    def write(**changes: Any) -> None:
        content = {**settings, **changes}
        if nested:
            (changeable / "preprocessor_config.json").unlink(missing_ok=True)
            content = {"image_processor": content}
        name = "processor_config.json" if nested else "preprocessor_config.json"
        (changeable / name).write_text(json.dumps(content))

    write(image_mean=[0.1, 0.2, 0.3], resample=2)
    with Checkpoint.open(changeable) as checkpoint:
        assert checkpoint.geometry is not None
        assert checkpoint.geometry.mean == (0.1, 0.2, 0.3)
        assert checkpoint.geometry.resample == "bilinear"
    for wrong in ({"size": {"height": 14, "width": 14}}, {"image_grid_pinpoints": [[28, 28]]}):
        write(**wrong)
        with pytest.raises(ArtifactError, match="image processor"):
            Checkpoint.open(changeable)


def test_a_folder_without_a_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read"):
        Checkpoint.open(tmp_path)


def test_every_family_is_one_module() -> None:
    assert NAMES == ("llava_onevision", "qwen2_5_vl")
    assert all(load_family(name).architecture for name in NAMES)


def test_defaults_are_those_of_transformers() -> None:
    from transformers import LlamaConfig, Qwen2Config
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig

    mrope = {"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    for kind, config, extra in (
        ("qwen2", Qwen2Config(), {}),
        ("llama", LlamaConfig(), {}),
        ("qwen2_5_vl_text", Qwen2_5_VLTextConfig(), mrope),
    ):
        shape = read_text_shape("config.json", {"model_type": kind, **extra}, tied=False)
        assert shape.n_layers == config.num_hidden_layers
        assert (shape.n_embd, shape.n_ff) == (config.hidden_size, config.intermediate_size)
        assert shape.n_head == config.num_attention_heads
        assert shape.n_head_kv == config.num_key_value_heads
        assert (shape.n_vocab, shape.n_ctx) == (config.vocab_size, config.max_position_embeddings)
        assert shape.rms_eps == config.rms_norm_eps
        assert shape.rope_theta == config.rope_parameters["rope_theta"]


def test_an_adapter_is_no_checkpoint(llava: Path, tmp_path: Path) -> None:
    write_adapter(llava, tmp_path / "adapter")
    with pytest.raises(ArtifactError, match="holds an adapter, no checkpoint") as caught:
        Checkpoint.open(tmp_path / "adapter")
    assert "export merge BASE ADAPTER" in caught.value.hint
