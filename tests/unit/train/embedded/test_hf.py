"""The folder for transformers: its own processor and model give the judge's logits."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
)
from transformers.models.llava_onevision.processing_llava_onevision import (
    LlavaOnevisionProcessor,
)

from edgecritic.prompts import render
from edgecritic.task import Task
from edgecritic_train.embedded.hf import main, prompt_text
from edgecritic_train.embedded.model import parts
from edgecritic_train.embedded.rows import Branch, pack_image, pack_row
from edgecritic_train.embedded.sft import hidden_states, stack_rows
from edgecritic_train.embedded.train import load_critic


@pytest.fixture(scope="module")
def folder(run, tiny_models, tmp_path_factory):
    out = tmp_path_factory.mktemp("hf")
    language_model = str(tiny_models.language_model)
    assert main([str(run), "--language-model", language_model, "--out", str(out)]) == 0
    return out


@pytest.fixture
def processor(folder, monkeypatch):
    """transformers' processor without its video half, which needs torchvision to be made."""
    monkeypatch.setattr(LlavaOnevisionProcessor, "check_argument_for_proper_class", lambda *_: None)
    settings = json.loads((folder / "processor_config.json").read_text())
    assert settings.pop("processor_class") == "LlavaOnevisionProcessor"
    image_processor = AutoImageProcessor.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return LlavaOnevisionProcessor(image_processor, tokenizer, None, **settings)


@pytest.mark.parametrize("size", [(100, 160), (192, 192), (300, 97)])
def test_transformers_alone_gives_the_verdict_logits(
    size, folder, processor, run, tiny_models, maker, geometry
):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8))
    prompt = render(Task("Which digit is 10 + 2?", ("a 7",), 1), maker.dialect)
    forced = maker.trie(prompt).forced
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder).eval()
    text = prompt_text(prompt) + maker.tokenize.decode(list(forced))
    with torch.no_grad():
        inputs = processor(images=image, text=text, return_tensors="pt")
        logits = model(**inputs).logits[0, -1].numpy()

    front, rest = maker.split(prompt)
    tokens = inputs["input_ids"][0].tolist()
    assert tokens[: len(front)] == list(front)
    assert tokens[-len(rest + forced) :] == list(rest + forced)
    critic = parts(
        load_critic(run / "critic.safetensors", tiny_models.language_model).base_model.model
    )
    packed = pack_row(
        front, pack_image(image, geometry), [Branch(rest + forced, (), "pointwise")], 4096
    )
    batch = stack_rows([packed], len(packed.tokens), geometry.patches_per_side**2)
    with torch.no_grad():
        expected = critic.head(hidden_states(critic, batch)[-1]).numpy()
    np.testing.assert_allclose(logits, expected, atol=5e-5)


def test_the_adapter_is_merged(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlavaOnevisionForConditionalGeneration"]
    assert not list(folder.glob("adapter*"))
