"""A bundle gives back the critic that it was made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecritic.bundle import Bundle
from edgecritic.errors import ArtifactError, InputError
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded
from edgecritic_train.embedded.bundled import load_bundle
from edgecritic_train.embedded.config import EmbeddedConfig
from edgecritic_train.embedded.hf import main, open_critic
from edgecritic_train.embedded.sft import Sources, TrainedPart
from edgecritic_train.embedded.train import begin, load_critic
from tiny_models import TinyModels


@pytest.fixture(scope="module")
def bundle(run: Path, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundle")
    return export_embedded(run, tiny_models.language_model, out, EmbeddedOptions("0.0"))


def test_every_weight_comes_back(bundle: Bundle, run: Path, tiny_models: TinyModels) -> None:
    expected = load_critic(run / "critic.safetensors", tiny_models.language_model)
    found = load_bundle(bundle)
    states = [dict(TrainedPart(model).state_dict()) for model in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        if ".post_layernorm." not in name:  # no engine reads it, so no bundle holds it
            assert torch.equal(value, states[1][name]), name
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        logits = [model.eval()(input_ids=tokens).logits for model in (found, expected)]
    assert torch.equal(*logits)


def test_a_run_goes_on_from_a_bundle(
    bundle: Bundle, run: Path, config: EmbeddedConfig, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    sources = Sources((), bundle.file("language_model"), tmp_path / "next", 0, False)
    config = replace(config, seed=5)
    begin(bundle, sources, config)
    begun, before = (load_file(at / "critic.safetensors") for at in (sources.folder, run))
    same = [name for name in before if torch.equal(begun[name], before[name])]
    assert [name for name in before if name not in same and ".post_layernorm." not in name] == []
    assert json.loads((sources.folder / "training.json").read_text())["config"]["seed"] == 5
    (sources.folder / "critic.safetensors").write_bytes(b"a run that has gone on")
    begin(bundle, sources, config)
    assert (sources.folder / "critic.safetensors").read_bytes() == b"a run that has gone on"


def test_the_folder_is_written_with_the_adapter_or_without(bundle: Bundle, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name, flags in (("critic", []), ("base", ["--without-adapter"])):
        assert main([str(bundle.folder), *flags, "--out", str(tmp_path / name)]) == 0
    critic, base = (load_file(tmp_path / name / "model.safetensors") for name in ("critic", "base"))
    assert critic.keys() == base.keys()
    differing = {name for name, value in critic.items() if not torch.equal(value, base[name])}
    assert len(differing) == 7 * 2
    assert all("language_model" in name for name in differing)


def test_what_is_no_critic_is_refused(
    bundle: Bundle, run: Path, tiny_models: TinyModels, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="language model of a run is not known"):
        open_critic(str(run), None)
    other = copied(bundle, tmp_path / "shapes", lora={"rank": 2, "alpha": 8})
    with pytest.raises(ArtifactError, match="holds other weights"):
        load_bundle(other)
    with pytest.raises(ArtifactError, match="does not state its shapes"):
        load_bundle(copied(bundle, tmp_path / "nothing", lora=None))


def copied(bundle: Bundle, folder: Path, **config: Any) -> Bundle:
    """The bundle with other numbers in its summary."""
    import shutil

    shutil.copytree(bundle.folder, folder)
    path = folder / "critic.json"
    manifest = json.loads(path.read_text())
    manifest["training"]["config"] |= config
    path.write_text(json.dumps(manifest))
    return Bundle.read(folder)
