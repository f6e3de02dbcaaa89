"""Adapters over a base: what they reach, in which precision, and that they belong to it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecritic.backends.tokens import read_settings
from edgecritic.errors import ArtifactError, InputError, shown
from edgecritic_train.tuning.base import Base, hollow_model
from edgecritic_train.tuning.config import AdapterSettings, TuningConfig
from edgecritic_train.tuning.families import LANGUAGE, Family

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

logger = logging.getLogger(__name__)
WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
SUMMARY: Final = "training.json"
_ANOTHER: Final = "name the adapter that was trained on this base"
_HALF: Final = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")


def targets(family: Family, settings: AdapterSettings) -> str:
    """The regular expression of the adapted modules' whole paths.

    A list of layer names would reach the vision tower, too: its layers have the same names.
    """
    layers = rf"{re.escape(LANGUAGE)}\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(settings.targets)})"
    if settings.vision_tower != "lora":
        return layers
    return rf"({layers})|({re.escape(family.tower)}\.{family.tower_layers})"


def trained_whole(family: Family, settings: AdapterSettings) -> list[str]:
    """Modules that are trained themselves, without an adapter.

    Raises:
        InputError: the projector is part of the tower, and only one of them is to be trained.
    """
    modules = [family.tower] if settings.vision_tower == "full" else []
    inside = family.projector.startswith(f"{family.tower}.")
    if modules and inside and not settings.projector:
        raise InputError(
            f"adapter.vision_tower is full, and {family.projector} is part of it",
            "set adapter.projector to true as well, or adapter.vision_tower to lora",
        )
    if settings.projector and not (modules and inside):
        modules.append(family.projector)
    return modules


def lora_config(family: Family, settings: AdapterSettings) -> LoraConfig:
    """PEFT's form of the settings."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        use_rslora=settings.rslora,
        target_modules=targets(family, settings),
        modules_to_save=trained_whole(family, settings) or None,
        task_type="CAUSAL_LM",
    )


def adapted(model: Any, family: Family, settings: AdapterSettings) -> PeftModel:
    """The model with a new adapter, or with the one to go on from; its weights are float32.

    In bfloat16 a small step rounds to none: at a learning rate of 5e-7 one weight in a thousand
    would move.

    Raises:
        ArtifactError: the adapter to go on from is not of this base.
        InputError: the settings contradict each other.
    """
    from peft import get_peft_model

    found: PeftModel
    if settings.start is None:
        found = get_peft_model(model, lora_config(family, settings))
    else:
        found = _continued(model, settings.start)
        _tell_own_shape(found, settings)
    for parameter in found.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    _spare_copies(found)
    _check_reach(found, family, settings)
    return found


def check_start(config: TuningConfig, base: Base) -> None:
    """Look at the adapter to go on from, if any, before the weights of its base are read.

    Raises:
        ArtifactError: it cannot be read, or is not of this base.
    """
    folder = config.adapter.start
    if folder is None:
        return
    _check_is_adapter(folder)
    _check_type(folder, base.folder.config["model_type"])
    layers = dict(hollow_model(base, config).named_modules())
    for name, shape in shapes_of(folder).items():
        if (half := _HALF.fullmatch(name)) is None:
            continue
        weight = getattr(layers.get(half["layer"]), "weight", None)
        side = 1 if half["half"] == "A" else 0
        if weight is None or shape[side] != weight.shape[side]:
            there = "has no such layer" if weight is None else f"has {tuple(weight.shape)} there"
            raise ArtifactError(
                f"{folder} is no adapter of this base: {name} is {shape}, and the base {there}",
                _ANOTHER,
            )


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of an adapter's tensors, by their names; no weights are read.

    Raises:
        ArtifactError: its file is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names: list[str] = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder / WEIGHTS} cannot be read: {error}", "fetch the adapter again"
        ) from error


def _check_is_adapter(folder: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} holds no {name}", "name the folder of an adapter")


def _spare_copies(model: Any) -> None:
    """Let autocast round the adapters, where peft would copy their inputs to float32.

    One such copy in front of `down_proj` takes 0.6 GB for 7,800 tokens of a 7B.
    """
    import torch

    if model.dtype == torch.float32:
        return  # nothing is cast then, and autocast is off
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def _continued(model: Any, folder: Path) -> PeftModel:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    _check_is_adapter(folder)
    _check_type(folder, model.config.model_type)
    _tell_other_name(folder, str(model.name_or_path))
    try:
        found = PeftModel.from_pretrained(model, folder, is_trainable=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{folder} is no adapter of this base: {reason}", _ANOTHER) from error
    # peft asks the hub for what the base was called then, whenever it gathers the weights.
    found.peft_config["default"].base_model_name_or_path = model.name_or_path
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stray = set(get_peft_model_state_dict(found)) ^ set(file.keys())
    if stray:
        raise ArtifactError(
            f"{folder} is no adapter of this base: {len(stray)} tensors are in one only, "
            f"{min(stray)} first",
            _ANOTHER,
        )
    return found


def _tell_own_shape(model: Any, settings: AdapterSettings) -> None:
    """An adapter that is gone on with stays as it was made, whatever the settings say."""
    own = model.peft_config["default"]
    shape = {"rank": own.r, "alpha": own.lora_alpha, "dora": own.use_dora}
    for key, kept in shape.items():
        if kept != (asked := getattr(settings, key)):
            logger.warning(
                "adapter.%s is %s, and %s keeps its own, %s", *(key, asked, settings.start, kept)
            )


def _stated_base(folder: Path) -> dict[str, Any]:
    """What the adapter's summary says of its base; empty without one."""
    if not (folder / SUMMARY).is_file():
        return {}
    stated = read_settings(folder / SUMMARY).get("base")
    return stated if isinstance(stated, dict) else {}


def _check_type(folder: Path, model_type: str) -> None:
    """Language models of both families may have the same shapes; the summary tells them apart."""
    stated = _stated_base(folder)
    trained = stated.get("model_type")
    if trained not in (None, model_type):
        raise ArtifactError(
            f"{folder} is no adapter of this base: it was trained on {shown(stated.get('model'))}, "
            f"of model type {trained}, and this one is of {model_type}",
            _ANOTHER,
        )


def _tell_other_name(folder: Path, here: str) -> None:
    name = _stated_base(folder).get("model")
    # A copy from the hub lies in a folder that has the model's name in its path.
    if isinstance(name, str) and Path(name).name not in here:
        logger.warning(
            "%s was trained on %s, and this base is %s: see that they are the same model",
            *(folder, name, here),
        )


def _check_reach(model: Any, family: Family, settings: AdapterSettings) -> None:
    """What is trained is what was asked for."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("nothing would be trained", "name layers in adapter.targets")
    if settings.start is not None:
        return
    projector, tower = f".{family.projector}.", f".{family.tower}."
    for name in trained:
        in_projector = projector in name
        asked = settings.projector if in_projector else settings.vision_tower != "off"
        if (in_projector or tower in name) and not asked:
            raise InputError(
                f"{name} would be trained, and the settings do not ask for it",
                "use another version of peft: its rules for the names of layers have changed",
            )
