"""Original LLaVA-NeXT checkpoints become transformers' ones, number by number."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jinja2 import Environment
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.families import load_family
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.llava_next import import_checkpoint
from edgecritic_export.checkpoints.llava_next.names import tower_layers, transformers_names
from edgecritic_export.checkpoints.llava_next.settings import (
    TOWERS,
    check_supported,
    pinpoints,
    tower_shape,
    transformers_config,
)
from edgecritic_export.checkpoints.llava_next.tokenizer import CHAT_TEMPLATE
from edgecritic_export.checkpoints.shard_writer import ShardWriter
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.checkpoints.store import Bits, TensorInfo
from original_checkpoints import (
    original_config,
    original_name,
    towers,
    write_original,
    write_original_tokenizer,
)
from tiny_checkpoints import IMAGE_TOKEN_ID, VIDEO_TOKEN_ID, write_llava_onevision, write_tokenizer

TOWER = "model.vision_tower.vision_tower.vision_model."


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    write_llava_onevision(folder, dtype="bfloat16")
    return folder


@pytest.fixture
def original(reference: Path, tmp_path: Path) -> Path:
    write_original(reference, tmp_path / "original")
    return tmp_path / "original"


def outputs(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Image features of two tiles, and the logits behind them."""
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.train(mode=False)
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 3, 28, 28))).float()
    image: dict[str, Any] = {"pixel_values": pixels, "image_sizes": torch.tensor([[28, 56]])}
    with torch.inference_mode():
        (features,) = model.get_image_features(**image).pooler_output
        ids = torch.tensor([[260, 5, *[IMAGE_TOKEN_ID] * len(features), 9, 44]])
        return features, model(input_ids=ids, **image).logits


def test_logits_and_features_are_those_of_the_original(
    reference: Path, original: Path, tmp_path: Path
) -> None:
    done = import_checkpoint(original, tmp_path / "out", towers=towers(3))
    assert done.written
    assert done.dropped == ()
    assert done.tensors == len(load_file(reference / "model.safetensors"))
    for found, expected in zip(outputs(tmp_path / "out"), outputs(reference), strict=True):
        assert torch.equal(found, expected)
    with Checkpoint.open(tmp_path / "out") as imported, Checkpoint.open(reference) as expected:
        assert imported.geometry == expected.geometry
        assert imported.text == expected.text
        assert {imported.store.dtype(name) for name in imported.store.names} == {"BF16"}


def test_a_stored_last_layer_is_not_read(reference: Path, original: Path, tmp_path: Path) -> None:
    """LLaVA-NeXT would drop it when it loads the checkpoint."""
    import_checkpoint(original, tmp_path / "out", towers=towers(2))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vision_feature_layer"] == -2
    assert config["vision_config"]["num_hidden_layers"] == 2
    features, _ = outputs(tmp_path / "out")
    shorter = LlavaOnevisionForConditionalGeneration.from_pretrained(
        reference, dtype=torch.float32
    ).train(mode=False)
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 3, 28, 28))).float()
    with torch.inference_mode():
        (expected,) = shorter.get_image_features(
            pixel_values=pixels, image_sizes=torch.tensor([[28, 56]]), vision_feature_layer=-2
        ).pooler_output
    assert torch.equal(features, expected)


def full_size_names(stored_layers: int = 26) -> list[str]:
    """All keys of lmms-lab/llava-critic-7b."""
    tower = {"weight", "bias"}
    names = ["model.image_newline", "model.embed_tokens.weight", "model.norm.weight"]
    names += ["lm_head.weight", f"{TOWER}embeddings.position_embedding.weight"]
    names += [f"model.mm_projector.{layer}.{kind}" for layer in (0, 2) for kind in tower]
    for module in ("embeddings.patch_embedding", "post_layernorm"):
        names += [f"{TOWER}{module}.{kind}" for kind in tower]
    blocks = [*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2"]
    for layer in range(stored_layers):
        for module in (*blocks, "layer_norm1", "layer_norm2"):
            names += [f"{TOWER}encoder.layers.{layer}.{module}.{kind}" for kind in tower]
    for layer in range(28):
        prefix = f"model.layers.{layer}"
        names += [
            f"{prefix}.{norm}.weight" for norm in ("input_layernorm", "post_attention_layernorm")
        ]
        names += [f"{prefix}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")]
        names += [f"{prefix}.self_attn.{name}_proj.weight" for name in ("q", "k", "v", "o")]
        names += [f"{prefix}.self_attn.{name}_proj.bias" for name in ("q", "k", "v")]
    return names


def test_every_key_of_the_7b_has_one_place() -> None:
    names = full_size_names()
    renamed, dropped = transformers_names(names)
    assert renamed.keys() == set(names)
    assert len(set(renamed.values())) == len(names)
    assert dropped == ()
    plain = {
        target.replace("vision_tower.vision_model.", "vision_tower.") for target in renamed.values()
    }
    assert {original_name(target) for target in plain} == set(names)
    assert tower_layers(names) == 26


def test_computed_buffers_and_the_pooling_head_are_left_out() -> None:
    buffers = (
        "model.layers.3.self_attn.rotary_emb.inv_freq",
        f"{TOWER}embeddings.position_ids",
        f"{TOWER}head.probe",
    )
    renamed, dropped = transformers_names([*buffers, "model.norm.weight"])
    assert dropped == buffers
    assert list(renamed) == ["model.norm.weight"]


@pytest.mark.parametrize(
    "name", ["model.mm_projector.1.weight", "model.vision_resampler.query", "model.normal.weight"]
)
def test_a_tensor_without_a_place_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match="has no place"):
        transformers_names([name])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architectures", ["LlavaMixtralForCausalLM"]),
        ("mm_projector_type", "mlp3x_gelu"),
        ("mm_patch_merge_type", "flat"),
        ("mm_newline_position", "frame"),
        ("image_aspect_ratio", "pad"),
        ("model_type", "llava_onevision"),
    ],
)
def test_other_computations_are_refused(key: str, value: object) -> None:
    check_supported(original_config())
    with pytest.raises(ArtifactError):
        check_supported(original_config(**{key: value}))


def test_the_tower_is_known_by_its_name_or_its_folder() -> None:
    expected = TOWERS["google/siglip-so400m-patch14-384"]
    for name in ("google/siglip-so400m-patch14-384", "/models/siglip-so400m-patch14-384/"):
        assert tower_shape({"mm_vision_tower": name}, TOWERS) == expected
    with pytest.raises(ArtifactError, match="clip-vit"):
        tower_shape({"mm_vision_tower": "openai/clip-vit-large-patch14-336"}, TOWERS)


@pytest.mark.parametrize("stored", [0, 1, 4])
def test_a_tower_with_too_few_layers_is_refused(stored: int) -> None:
    tower = tower_shape(original_config(), towers(3))
    ids = {"<image>": 1, "<video>": 2}
    with pytest.raises(ArtifactError, match=f"{stored} layers"):
        transformers_config(original_config(), tower, stored, ids, "float32")


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ([[384, 768], [768, 384]], [[768, 384], [384, 768]]),
        ("[(384, 768), (768, 384)]", [[768, 384], [384, 768]]),
        ("(1x2),(2x1)", [[768, 384], [384, 768]]),
        ("(1x1),...,(1x3)", [[384, 384], [768, 384], [1152, 384]]),
    ],
)
def test_pinpoints_are_turned_to_height_and_width(
    original: object, expected: list[list[int]]
) -> None:
    assert pinpoints(original, 384) == expected


@pytest.mark.parametrize("original", [None, [], "6x6", [[384]], [["384", 384]], "(1x1),(2"])
def test_odd_pinpoints_are_refused(original: object) -> None:
    with pytest.raises(ArtifactError, match="image_grid_pinpoints"):
        pinpoints(original, 384)


@pytest.mark.parametrize("slow", [False, True])
def test_the_tokenizer_gains_the_media_tokens(
    reference: Path, original: Path, tmp_path: Path, slow: bool
) -> None:
    if slow:
        (original / "tokenizer.json").unlink()
        write_original_tokenizer(reference, original, slow=True)
    import_checkpoint(original, tmp_path / "out", towers=towers(3))
    text = "<|im_start|>user\n<image>\nThe thé  12,\r\n x'll<|im_end|>\n<video>"
    expected = Tokenizer.from_file(str(reference / "tokenizer.json")).encode(text).ids
    assert (
        Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).encode(text).ids == expected
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(text).input_ids == expected
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["image_token_index"] == IMAGE_TOKEN_ID
    assert config["video_token_index"] == VIDEO_TOKEN_ID


def test_the_template_writes_chatml_with_pictures_first() -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Which?"}, {"type": "image"}, {"type": "image"}],
        },
        {"role": "assistant", "content": "The first."},
    ]
    # As transformers renders templates.
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    assert template.render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\n<image>\nWhich?<|im_end|>\n"
        "<|im_start|>assistant\nThe first.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_commit_it_came_from_is_kept(original: Path, tmp_path: Path) -> None:
    import_checkpoint(original, tmp_path / "out", towers=towers(3), origin="critics/tiny@0123")
    assert resolve(tmp_path / "out").name == "critics/tiny"


def test_a_second_run_does_nothing(original: Path, tmp_path: Path) -> None:
    import_checkpoint(original, tmp_path / "out", towers=towers(3))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = import_checkpoint(original, tmp_path / "out", towers=towers(3))
    assert not again.written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_made_from_something_else_is_left_alone(original: Path, tmp_path: Path) -> None:
    import_checkpoint(original, tmp_path / "out", towers=towers(3))
    (original / "config.json").write_text(json.dumps(original_config(rms_norm_eps=1e-5)))
    with pytest.raises(ArtifactError, match="not made from this source"):
        import_checkpoint(original, tmp_path / "out", towers=towers(3))


def test_an_interrupted_import_leaves_nothing_and_can_be_repeated(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ShardWriter.write

    def interrupt(writer: ShardWriter, name: str, dtype: str, bits: Bits) -> None:
        if writer.written > writer.nbytes // 2:
            raise KeyboardInterrupt
        write(writer, name, dtype, bits)

    monkeypatch.setattr(ShardWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint(original, tmp_path / "out", towers=towers(3))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
    (tmp_path / ".out.partial").mkdir()  # as a killed run leaves it
    (tmp_path / ".out.partial" / "model.safetensors").write_bytes(b"half")
    assert import_checkpoint(original, tmp_path / "out", towers=towers(3)).written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original", "out"]


def test_a_missing_tensor_is_named(original: Path, tmp_path: Path) -> None:
    shard = original / "model-00001-of-00002.safetensors"
    state = load_file(shard)
    lost = sorted(name for name in state if "mlp.up_proj" in name)[0]
    del state[lost]
    save_file(state, shard)
    index = original / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"][lost]
    index.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"mlp\.up_proj\.weight is missing"):
        import_checkpoint(original, tmp_path / "out", towers=towers(3))
    assert not (tmp_path / "out").exists()


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "reference", tied=True)
    write_original(tmp_path / "reference", tmp_path / "original", tie_word_embeddings=True)
    shard = tmp_path / "original" / "model-00001-of-00002.safetensors"
    other = load_file(tmp_path / "original" / "model-00002-of-00002.safetensors")
    state = load_file(shard)
    embedding = {**state, **other}["model.embed_tokens.weight"]
    save_file({**state, "lm_head.weight": embedding.clone()}, shard)
    index = tmp_path / "original" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = shard.name
    index.write_text(json.dumps(content))
    done = import_checkpoint(tmp_path / "original", tmp_path / "out", towers=towers(3))
    assert done.dropped == ("lm_head.weight",)
    found, expected = outputs(tmp_path / "out"), outputs(tmp_path / "reference")
    assert torch.equal(found[1], expected[1])


def test_memory_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    """The import of 114 MB, whose largest tensor has 4 MB, needs less than two such tensors."""
    source = tmp_path / "original"
    source.mkdir()
    layers = {"num_hidden_layers": 6, "hidden_size": 512, "intermediate_size": 2048}
    config = original_config(**layers, vocab_size=2048)
    plan = {name: TensorInfo("BF16", shape) for name, shape in synthetic_shapes(config).items()}
    total = sum(info.nbytes for info in plan.values())
    largest = max(info.nbytes for info in plan.values())
    with ShardWriter(source, plan, shard_bytes=32_000_000) as writer:
        for name, info in plan.items():
            writer.write(name, "BF16", np.zeros(info.shape, np.uint16))
        writer.finish()
    (source / "config.json").write_text(json.dumps(config))
    write_tokenizer(source)
    tracemalloc.start()
    try:
        import_checkpoint(source, tmp_path / "out", towers=towers(3), shard_bytes=32_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 12 * largest
    assert peak < 2 * largest


def synthetic_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Original names and shapes of a model with the tiny tower and a larger language model."""
    made = transformers_config(
        config, tower_shape(config, towers(3)), 2, {"<image>": 1, "<video>": 2}, "bfloat16"
    )
    numbers = load_family("llava_onevision").read(made, {})
    shapes = numbers.text.tensor_shapes()
    shapes |= {f"{TOWER}{name}": shape for name, shape in numbers.shapes["vision"].items()}
    for name, shape in numbers.shapes["projector"].items():
        shapes[f"model.mm_projector.{name.replace('linear_1', '0').replace('linear_2', '2')}"] = (
            shape
        )
    return shapes | {"model.image_newline": numbers.shapes["newline"][""]}


def test_too_small_a_disk_is_said_before_the_copy(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ArtifactError, match="GB left"):
        import_checkpoint(original, tmp_path / "out", towers=towers(3))
    assert not (tmp_path / "out").exists()
