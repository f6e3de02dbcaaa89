"""What adapters reach, in which precision, and over which bits."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError
from edgecritic_train.tuning.adapters import adapted, check_start
from edgecritic_train.tuning.base import hollow_model, load_base, open_base
from edgecritic_train.tuning.prepare import prepare_rows
from edgecritic_train.tuning.sft import make_trainer, train_sft
from tiny_tuning import FAMILIES, Configure

pytestmark = pytest.mark.filterwarnings(
    # peft 0.21 and TRL 1.16 read names that transformers 5.23 has changed.
    "ignore:.*is deprecated and will be removed in v6:FutureWarning"
)
each_family = pytest.mark.parametrize("family", FAMILIES)
ASKED = [
    [],
    ["adapter.dora=true"],
    ["adapter.rslora=true", "adapter.targets=[q_proj, down_proj]"],
    ["adapter.projector=true"],
    ["adapter.vision_tower=lora"],
    ["adapter.vision_tower=full", "adapter.projector=true"],
]


def adapted_model(configure: Configure, family: str, *assignments: str) -> Any:
    config = configure(family, *assignments)
    base = open_base(config)
    torch.manual_seed(1)
    return adapted(load_base(base, config), base.family, config.adapter), base


@each_family
@pytest.mark.parametrize("assignments", ASKED, ids=str)
def test_only_what_was_asked_for_is_trained(
    configure: Configure, family: str, assignments: list[str]
) -> None:
    model, base = adapted_model(configure, family, *assignments)
    asked = " ".join(assignments)
    trained = {
        name.replace(".modules_to_save.default", "")
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    projector = {name for name in trained if f".{base.family.projector}." in name}
    tower = {name for name in trained if f".{base.family.tower}." in name} - projector
    language = {name for name in trained if ".language_model." in name}
    assert trained == projector | tower | language
    assert bool(projector) == ("projector" in asked)
    assert bool(tower) == ("vision_tower" in asked)
    assert all("lora_" in name for name in language)
    layers = 2 if "targets" in asked else 7
    assert len(language) == 2 * layers * (3 if "dora" in asked else 2)
    if "vision_tower=lora" in asked:
        assert all("lora_" in name for name in tower)
    dtypes = {p.dtype for p in model.parameters() if p.requires_grad}
    assert dtypes == {torch.float32}


def test_qwens_tower_is_not_trained_whole_without_its_merger(configure: Configure) -> None:
    with pytest.raises(InputError, match="is part of it"):
        adapted_model(configure, "qwen2_5_vl", "adapter.vision_tower=full")


@each_family
def test_four_bits_reach_the_language_model_only(configure: Configure, family: str) -> None:
    """A list of bare names would quantize the tower, and the head."""
    from bitsandbytes.nn import Linear4bit

    config = configure(family, "base.quantization=nf4", "base.dtype=bfloat16")
    base = open_base(config)
    model = load_base(base, config)
    rounded = {n for n, m in model.named_modules() if isinstance(m, Linear4bit)}
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert rounded == {n for n in linear if ".language_model.layers." in n}
    assert len(rounded) == 14
    assert model.lm_head.weight.dtype == torch.bfloat16
    state = model.get_submodule(min(rounded)).weight.quant_state
    assert state.nested  # double quantization
    assert model.get_submodule(min(rounded)).weight.quant_storage == torch.bfloat16  # for FSDP


@each_family
def test_a_saved_adapter_is_gone_on_from(configure: Configure, family: str, tmp_path: Path) -> None:
    model, _ = adapted_model(configure, family, "adapter.dora=true")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape))
    model.save_pretrained(tmp_path / "adapter")
    again, _ = adapted_model(configure, family, f"adapter.start={tmp_path}/adapter")
    before = dict(model.named_parameters())
    trained = {name: p for name, p in again.named_parameters() if p.requires_grad}
    assert trained
    for name, parameter in trained.items():
        assert torch.equal(parameter, before[name])


def test_going_on_asks_nobody_for_the_base_of_then(configure: Configure, tmp_path: Path) -> None:
    """A run is moved, or names its base by a relative path: peft would take that for a repository.

    Its warning of a failed look-up would be an error here.
    """
    model, _ = adapted_model(configure, "llava_onevision")
    model.save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps({**facts, "base_model_name_or_path": "somebody/base"}))
    again, _ = adapted_model(configure, "llava_onevision", f"adapter.start={tmp_path}/adapter")
    again.save_pretrained(tmp_path / "again")
    named = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == facts["base_model_name_or_path"]


def test_an_adapter_that_is_gone_on_with_keeps_its_shape(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = adapted_model(configure, "llava_onevision", "adapter.rank=4", "adapter.alpha=8")
    model.save_pretrained(tmp_path / "adapter")
    start = f"adapter.start={tmp_path}/adapter"
    adapted_model(configure, "llava_onevision", start, "adapter.rank=4", "adapter.alpha=8")
    assert not caplog.messages
    again, _ = adapted_model(configure, "llava_onevision", start, "adapter.rank=2")
    assert again.peft_config["default"].r == 4
    assert caplog.messages == [f"adapter.rank is 2, and {tmp_path}/adapter keeps its own, 4"]


def test_an_adapter_of_another_base_is_refused(configure: Configure, tmp_path: Path) -> None:
    model, _ = adapted_model(configure, "llava_onevision")
    model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    start = f"adapter.start={tmp_path}/adapter"
    state = load_file(path)
    # Renamed keys do not load, and peft only warns.
    renamed = {name.replace(".layers.", ".blocks."): value for name, value in state.items()}
    save_file(renamed, path)
    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(ArtifactError, match="is no adapter of this base"),
    ):
        adapted_model(configure, "llava_onevision", start)
    save_file({name: torch.cat([v, v]) for name, v in state.items()}, path)
    with pytest.raises(ArtifactError, match="is no adapter of this base"):
        adapted_model(configure, "llava_onevision", start)
    with pytest.raises(ArtifactError, match=r"holds no adapter_model\.safetensors"):
        adapted_model(configure, "llava_onevision", f"adapter.start={tmp_path}")


def test_an_adapter_of_another_base_is_refused_before_that_base_is_read(
    configure: Configure, bases: dict[str, Path], tmp_path: Path
) -> None:
    """The weights of a 7B take minutes, and room on the GPU."""
    folder = tmp_path / "adapter"
    adapted_model(configure, "llava_onevision")[0].save_pretrained(folder)
    bare = tmp_path / "llava_onevision"
    shutil.copytree(bases["llava_onevision"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    changes = [f"base.model={bare}", f"adapter.start={folder}"]
    config = configure("llava_onevision", *changes)
    check_start(config, open_base(config))

    settings = json.loads((bare / "config.json").read_text())
    whole = dict(settings["text_config"])
    narrow = {"intermediate_size": 32}
    shallow = {"num_hidden_layers": 1, "layer_types": whole["layer_types"][:1]}
    for change in (narrow, shallow):
        settings["text_config"] = {**whole, **change}
        (bare / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ArtifactError, match="is no adapter of this base"):
            train_sft(config, lambda _: None)
    for damage in ("", "junk"):
        (folder / "adapter_model.safetensors").write_text(damage)
        with pytest.raises(ArtifactError, match="cannot be read"):
            train_sft(config, lambda _: None)
    with pytest.raises(ArtifactError, match="nowhere holds no adapter_model"):
        train_sft(configure("llava_onevision", "adapter.start=nowhere"), lambda _: None)
    assert not config.output.exists()


def test_an_adapter_of_a_base_of_another_name_is_told(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same shapes may be those of another model."""
    model, base = adapted_model(configure, "llava_onevision")
    folder = tmp_path / "adapter"
    model.save_pretrained(folder)
    for name, warned in ((f"org/{base.folder.path.name}", 0), ("org/other", 1)):
        stated = {"base": {"model": name, "model_type": "llava_onevision"}}
        (folder / "training.json").write_text(json.dumps(stated))
        adapted_model(configure, "llava_onevision", f"adapter.start={folder}")
        assert len(caplog.records) == warned
    assert "was trained on org/other" in caplog.text


def test_a_base_that_lacks_weights_is_refused(
    configure: Configure, bases: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(bases["llava_onevision"], tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    state = load_file(path)
    state.pop(next(name for name in state if "multi_modal_projector" in name))
    save_file(state, path, metadata={"format": "pt"})
    config = configure("llava_onevision", f"base.model={tmp_path}/base")
    with pytest.raises(ArtifactError, match=r"1 missing keys, .*multi_modal_projector"):
        load_base(open_base(config), config)
    with pytest.raises(ArtifactError, match="is no folder"):
        open_base(configure("llava_onevision", "base.model=./nowhere"))


def test_settings_of_a_base_that_contradict_each_other_are_told(
    configure: Configure, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "llava_onevision"
    shutil.copytree(bases["llava_onevision"], folder)
    settings = json.loads((folder / "config.json").read_text())
    del settings["text_config"]["layer_types"][0]
    (folder / "config.json").write_text(json.dumps(settings))
    config = configure("llava_onevision", f"base.model={folder}")
    for read in (load_base, hollow_model):
        with pytest.raises(ArtifactError, match=r"config\.json contradicts itself: .*layer_types"):
            read(open_base(config), config)


def test_what_needs_a_gpu_says_so(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecritic_train.tuning.arguments import check_machine

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for wish in ("optimizer.name=paged_adamw_8bit", "base.dtype=float16"):
        with pytest.raises(BackendUnavailableError, match="no GPU"):
            check_machine(configure("llava_onevision", wish))


def test_an_optimizer_of_bitsandbytes_wants_it_installed(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecritic_train.tuning import arguments

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(arguments, "find_spec", lambda _: None)
    arguments.check_machine(configure("llava_onevision", "base.dtype=float16"))
    with pytest.raises(BackendUnavailableError, match="bitsandbytes is not installed"):
        arguments.check_machine(configure("llava_onevision", "optimizer.name=adamw_8bit"))


@each_family
def test_projector_and_tower_learn_at_their_own_rates(configure: Configure, family: str) -> None:
    """Each parameter is in one group, and the schedule scales every group's own rate."""
    config = configure(
        family,
        *("adapter.projector=true", "adapter.vision_tower=lora", "optimizer.learning_rate=1e-3"),
        *("optimizer.projector_learning_rate=6e-4", "optimizer.vision_learning_rate=1e-4"),
        *("optimizer.schedule=constant_with_warmup", "optimizer.warmup=0"),
        "optimizer.weight_decay=0.1",
    )
    base = open_base(config)
    rows = prepare_rows(config, base, lambda _: None)
    config.output.mkdir()
    trainer = make_trainer(config, base, rows, True)
    trainer.create_optimizer_and_scheduler(10)
    wanted = {"projector": 6e-4, "tower": 1e-4, "language": 1e-3}
    found: dict[int, float] = {}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = group["lr"]
    for name, parameter in trainer.model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "language"
        if f".{base.family.tower}." in name:
            part = "tower"
        if f".{base.family.projector}." in name:
            part = "projector"
        assert found.pop(id(parameter)) == wanted[part], name
    assert not found


def test_attention_that_is_not_installed_is_named(configure: Configure) -> None:
    if find_spec("flash_attn") is not None:
        return
    config = configure("llava_onevision", "base.attention=flash_attention_2")
    with pytest.raises(BackendUnavailableError, match="FlashAttention2") as caught:
        load_base(open_base(config), config)
    assert "base.attention to sdpa" in caught.value.hint
