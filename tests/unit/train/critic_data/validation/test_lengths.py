"""Token lengths with pictures, as the base model counts them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from edgecritic.errors import ArtifactError
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry, token_count
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rendering import render_row
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.critic_data.validation.lengths import BaseTokens, NativeResolution

LLAVA = {
    "model_type": "llava_onevision",
    "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]],
    "vision_aspect_ratio": "anyres_max_3",
    "vision_config": {"image_size": 28, "patch_size": 7},
    "text_config": {"max_position_embeddings": 600},
}


@pytest.fixture
def base(tmp_path):
    """A base's small files, with a tokenizer of one token a byte."""
    folder = tmp_path / "base"
    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: k for k, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(LLAVA))
    return folder


def test_text_and_picture_are_added_up(base, pair):
    counter = BaseTokens.read(base)
    rendered = render_row(pair, load_dialect())
    text = rendered.prompt.text.replace("<image 1>", "") + rendered.answer
    assert counter.text(rendered) == len(text.encode()) + 1
    geometry = ImageGeometry(28, 7, ((28, 56), (56, 28), (56, 56)), 3)
    assert counter.pictures.count([(24, 32)]) == token_count((24, 32), geometry)
    assert counter.pictures.count([(24, 32)] * 2) == 2 * 17
    assert counter.context == 600


def test_a_row_that_is_too_long_is_an_error(base, pair, tmp_path, capsys):
    write_rows(tmp_path / "rows.jsonl", [pair])
    asked = ["data", "validate", str(tmp_path / "rows.jsonl"), "--base", str(base)]
    assert main([*asked, "--max-length", "2000"]) == 0
    assert "tokens with pictures: median" in capsys.readouterr().out
    assert main([*asked, "--max-length", "200"]) == 1
    said = capsys.readouterr().out
    assert "## error: too-long (1)" in said
    assert "of them of pictures; 200 fit" in said


@settings(deadline=None)
@given(st.integers(28, 3000), st.integers(28, 3000))
def test_native_resolution_counts_as_transformers_does(height, width):
    low, high = 56 * 56, 1280 * 28 * 28
    fitted = smart_resize(height, width, 28, low, high)
    counted = NativeResolution(28, low, high).count([(height, width)])
    assert counted == fitted[0] * fitted[1] // 28**2 + 2


def test_the_processor_s_pixel_cap_is_heeded(base):
    (base / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", "vision_config": {}}))
    processor = {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 100352}
    (base / "preprocessor_config.json").write_text(json.dumps(processor))
    counter = BaseTokens.read(base)
    assert counter.pictures == NativeResolution(28, 3136, 100352)
    assert counter.pictures.count([(1080, 1920)]) <= 100352 // 28**2 + 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "cannot be read"),
        ("config.json", "[]", "no JSON object"),
        ("config.json", '{"model_type": "bert"}', "model_type is 'bert'"),
        ("config.json", '{"model_type": "llava_onevision"}', "geometry cannot be used"),
        ("tokenizer.json", None, r"tokenizer\.json is missing"),
    ],
)
def test_a_folder_that_is_no_base_is_named(base, name, content, message):
    (base / name).unlink()
    if content is not None:
        (base / name).write_text(content)
    with pytest.raises(ArtifactError, match=message):
        BaseTokens.read(base)
