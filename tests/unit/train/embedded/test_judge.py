"""The judge in torch reads what the runtime's critic reads from the exported files."""

import json

import numpy as np
import pytest
from PIL import Image

from edgecritic import Critic
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import CriticError, InputError
from edgecritic.profile import CriticProfile
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded
from edgecritic_export.features import bundle_features
from edgecritic_train.embedded.features import features
from edgecritic_train.embedded.judge import main
from edgecritic_train.embedded.train import load_critic

ITEM = {
    "id": "T0-000000",
    "kind": "digit",
    "split": "T0",
    "question": "Which digit?",
    "images": ["images/a.png", "images/b.png"],
    "responses": [
        {"text": "a 7", "scores": [10, 2], "families": ["correct", "wrong_value"]},
        {"text": "", "scores": [1, 1], "families": ["empty", "empty"]},
    ],
    "pairs": [{"side": 1, "first": 0, "second": 1, "winner": "first", "image_decided": False}],
}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("T0")
    (folder / "images").mkdir()
    rng = np.random.default_rng(2)
    for name, size in (("a", (120, 200, 3)), ("b", (192, 192, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(
            folder / "images" / f"{name}.png"
        )
    (folder / "items.jsonl").write_text(json.dumps(ITEM) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle(run, tiny_models, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle")
    return export_embedded(run, tiny_models.language_model, out, EmbeddedOptions("1"))


@pytest.fixture(scope="module")
def critic(bundle, tiny_models):
    options = EngineOptions(
        n_ctx=2048, n_threads=1, device="cpu", cache_type="F32", flash_attention=False
    )
    backend = LlamaCppBackend(
        tiny_models.language_model,
        mmproj=bundle.file("mmproj"),
        adapters=[bundle.file("adapter")],
        options=options,
    )
    with Critic(backend, CriticProfile.of(bundle)) as loaded:
        yield loaded


def test_the_judge_reads_what_the_runtime_reads(
    run, tiny_models, evaluation, critic, tmp_path, monkeypatch
):
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)  # a random model has little mass
    records = tmp_path / "records.jsonl"
    asked = ["--checkpoint", run / "critic.safetensors", "--set", evaluation, "--out", records]
    asked += ["--language-model", tiny_models.language_model, "--float32"]
    asked += ["--conditions", "right"]
    assert main([str(part) for part in asked]) == 0
    found = [json.loads(line) for line in records.read_text().splitlines()]
    assert [r["setting"] for r in found] == ["pointwise"] * 4 + ["pairwise"]
    for record in found:
        image = evaluation / ITEM["images"][record["side"]]
        if record["setting"] == "pointwise":
            text = ITEM["responses"][record["response"]]["text"]
            verdict = critic.score(image, ITEM["question"], text, rationale=False)
            read = [np.exp(record["log_probs"])]
            expected = [list(dict(verdict.probabilities).values())]
        else:
            texts = [ITEM["responses"][record[name]]["text"] for name in ("first", "second")]
            pair = critic.compare(image, ITEM["question"], *texts, rationale=False)
            read = np.exp(record["orders"])
            expected = [list(dict(order.probabilities).values()) for order in pair.orders]
        # F16 tower and adapter, GELU by table: 1e-3 of logits with a deviation of 1.
        np.testing.assert_allclose(read, expected, atol=2e-3)


def test_features_are_those_of_the_exported_tower(run, tiny_models, evaluation, bundle):
    ours = features(run, tiny_models.language_model, evaluation, None)
    theirs = bundle_features(bundle, evaluation, threads=1)
    assert ours.keys() == theirs.keys() == set(ITEM["images"])
    for name, array in ours.items():
        other = theirs[name]
        assert array.shape == other.shape
        lengths = np.linalg.norm(array, axis=1) * np.linalg.norm(other, axis=1)
        assert ((array * other).sum(1) / lengths).min() > 0.9999, name


def test_a_checkpoint_has_the_shapes_that_its_summary_states(run, tiny_models, tmp_path):
    copy = tmp_path / "critic.safetensors"
    copy.write_bytes((run / "critic.safetensors").read_bytes())
    with pytest.raises(CriticError, match="does not state the critic's shapes"):
        load_critic(copy, tiny_models.language_model)
    summary = json.loads((run / "training.json").read_text())
    summary["config"]["lora"]["rank"] = 8
    (tmp_path / "training.json").write_text(json.dumps(summary))
    with pytest.raises(CriticError, match="does not fit the critic"):
        load_critic(copy, tiny_models.language_model)


def test_a_set_or_condition_that_is_none_is_told_before_the_critic_is_loaded(evaluation, tmp_path):
    asked = ["--checkpoint", "none", "--language-model", "none.gguf", "--out", str(tmp_path / "r")]
    with pytest.raises(InputError, match=r"has no items\.jsonl"):
        main([*asked, "--set", str(tmp_path)])
    with pytest.raises(InputError, match="right,dark"):
        main([*asked, "--set", str(evaluation), "--conditions", "right,dark"])


def test_a_checkpoint_that_is_none_is_told(tiny_models, evaluation, tmp_path):
    adapter, empty = tmp_path / "adapter", tmp_path / "empty"
    for folder in (adapter, empty):
        folder.mkdir()
    facts = {"peft_type": "LORA", "base_model_name_or_path": "somebody/base"}
    (adapter / "adapter_config.json").write_text(json.dumps(facts))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text(json.dumps({"model_type": "llava_onevision"}))
    for checkpoint, told in (
        (adapter, "holds an adapter, no checkpoint"),
        (empty, "holds no config.json"),
        (tmp_path / "nowhere", "there is no checkpoint at"),
        (tmp_path / "cut", "no file named model.safetensors"),
    ):
        asked = ["--checkpoint", str(checkpoint), "--set", str(evaluation)]
        model = ["--language-model", str(tiny_models.language_model)]
        with pytest.raises(CriticError, match=told):
            main([*asked, *model, "--out", str(tmp_path / "out.jsonl")])
