"""What a checkpoint folder must look like before transformers may open it.

transformers decides by the names it finds in a folder: pickled weights, code, an adapter or a
second set of shards would be loaded without a word. So its folder is looked through first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.backends.tokens import read_settings
from edgecritic.errors import ArtifactError, shown

LLAVA, QWEN = "llava_onevision", "qwen2_5_vl"
MODEL_TYPES: Final = (LLAVA, QWEN)
CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER: Final = "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_HINT: Final = "fetch or export the bundle again"


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a folder holds.

    Attributes:
        folder: what transformers is given.
        model_type: of `MODEL_TYPES`.
        n_embd: width of the language model.
        n_vocab: rows of its embedding table.
        tile_size: side of the vision tower's pictures in pixels; None where it takes any.
        patch_size: side of a patch in pixels.
        configs: files that may name end tokens.
    """

    folder: Path
    model_type: str
    n_embd: int
    n_vocab: int
    tile_size: int | None
    patch_size: int
    configs: tuple[Path, ...]


def find_folders(bundle: Path, checkpoint: Collection[Path]) -> tuple[Path, Path | None]:
    """Where a bundle's model lies, and where its adapter, if it has one.

    Args:
        bundle: its folder, for messages.
        checkpoint: its files of that role; those of one model, and of at most one adapter.

    Raises:
        ArtifactError: the files lie in more folders, or none is a model's.
    """
    adapters = {path.parent for path in checkpoint if path.name == ADAPTER}
    folders = {path.parent for path in checkpoint} - adapters
    if len(folders) != 1 or len(adapters) > 1:
        raise ArtifactError(
            f"the checkpoint of {bundle} lies in {len(folders)} folders, with {len(adapters)} "
            "of adapters",
            "put all files of the model into one folder, and those of an adapter into another",
        )
    return folders.pop(), adapters.pop() if adapters else None


def check_checkpoint(folder: Path, listed: Collection[Path] | None = None) -> CheckpointFacts:
    """Check a folder in transformers' layout.

    Args:
        folder: with ``config.json`` and weights in safetensors.
        listed: the files that were verified; None for a folder that is trusted as it is.

    Raises:
        ArtifactError: it is of another model, has no safetensors, wants code to be run, or holds
            something that transformers would read and that is not listed.
    """
    config = read_settings(folder / CONFIG)
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES or "auto_map" in config:
        raise ArtifactError(
            f"{folder / CONFIG} is of model type {shown(model_type)}"
            f"{' with code of its own' if 'auto_map' in config else ''}, not "
            f"{' or '.join(MODEL_TYPES)}",
            "export the critic in another format, or fetch the bundle again",
        )
    weights = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    read = [folder / name for name in (CONFIG, GENERATION, INDEX, TOKENIZER, ADAPTER_CONFIG)]
    _check_listed([*weights, *(path for path in read if path.exists())], listed)
    if (folder / ADAPTER_CONFIG).exists():
        raise ArtifactError(
            f"{folder} holds a model and an adapter at once", "put the adapter into its own folder"
        )
    # transformers 4.x keeps the language model's numbers of Qwen2.5-VL at the top.
    text = () if model_type == QWEN and "text_config" not in config else ("text_config",)
    tiles = model_type == LLAVA
    return CheckpointFacts(
        folder,
        model_type,
        n_embd=_number(folder, config, *text, "hidden_size"),
        n_vocab=_number(folder, config, *text, "vocab_size"),
        tile_size=_number(folder, config, "vision_config", "image_size") if tiles else None,
        patch_size=_number(folder, config, "vision_config", "patch_size"),
        configs=tuple(folder / name for name in (CONFIG, GENERATION) if (folder / name).exists()),
    )


def check_adapter(folder: Path, listed: Collection[Path] | None = None) -> None:
    """Check a folder in PEFT's layout; arguments as for `check_checkpoint`.

    Raises:
        ArtifactError: it has no safetensors, is no LoRA, or holds something that is not listed.
    """
    settings = read_settings(folder / ADAPTER_CONFIG)
    if settings.get("peft_type") != "LORA":
        raise ArtifactError(f"{folder / ADAPTER_CONFIG} is no LoRA adapter", _HINT)
    if not (folder / ADAPTER).is_file():
        raise _no_safetensors(folder, ADAPTER)
    _check_listed([folder / ADAPTER, folder / ADAPTER_CONFIG], listed)


def _shards(folder: Path) -> list[Path]:
    if not (folder / INDEX).is_file():
        raise _no_safetensors(folder, WEIGHTS)
    shards = read_settings(folder / INDEX).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) else set()
    for name in names:
        plain = isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")
        if not plain or not (folder / name).is_file():
            raise ArtifactError(
                f"{folder / INDEX} names {shown(name)}, which is no safetensors file beside it",
                _HINT,
            )
    if not names:
        raise ArtifactError(f"{folder / INDEX} names no files", _HINT)
    return [folder / name for name in sorted(names)]


def _no_safetensors(folder: Path, name: str) -> ArtifactError:
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    return ArtifactError(
        f"{folder} has no {name}" + (f", only {pickled[0]}" if pickled else ""),
        "pickled weights run code when they are opened and are never loaded: "
        "save the model again as safetensors"
        if pickled
        else _HINT,
    )


def _check_listed(read: Collection[Path], listed: Collection[Path] | None) -> None:
    known = None if listed is None else {path.resolve() for path in listed}
    for path in read:
        if known is not None and path.resolve() not in known:
            raise ArtifactError(
                f"{path} would be read, and critic.json does not list it",
                "take the file away, or export the bundle again",
            )


def _number(folder: Path, config: dict[str, object], *keys: str) -> int:
    value: object = config
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArtifactError(f"{folder / CONFIG}: {'.'.join(keys)} is {shown(value)}", _HINT)
    return value
