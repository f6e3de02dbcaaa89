"""PEFT's LoRA adapters: what they add to which tensor of a checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from edgecritic.errors import ArtifactError, shown
from edgecritic_export.checkpoints.folder import ADAPTER_CONFIG, Checkpoint, read_json
from edgecritic_export.checkpoints.store import FloatArray, TensorStore

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_RETRAIN: Final = "train plain LoRA, rank-stabilised LoRA or DoRA"
_SAVE_AGAIN: Final = "save the adapter again with the base model that it was trained on"
# Settings that change nothing of how the saved matrices are added, or that are looked at below.
_UNDERSTOOD: Final = frozenset(
    (
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "r",
        "target_modules",
        "exclude_modules",
        "lora_alpha",
        "lora_dropout",
        "bias",
        "use_rslora",
        "use_dora",
        "modules_to_save",
        "init_lora_weights",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "megatron_core",
        "qalora_group_size",
        "eva_config",
        "ensure_weight_tying",
    )
)
# Other starts change the base weights, and the changed base is not saved.
_PLAIN_STARTS: Final = (True, False, None, "gaussian", "eva", "orthogonal")
_LORA: Final = re.compile(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?")
_LAYER: Final = re.compile(r"\.layers\.(\d+)\.|\.blocks\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class LoraUpdate:
    """The tensors of one adapted matrix, by their names in the adapter's file.

    Attributes:
        module: path of the adapted module, as the adapter names it.
        a: of A, (rank, n_in).
        b: of B, (n_out, rank).
        magnitude: of DoRA's row lengths, (n_out,); empty without DoRA.
        scale: factor of B @ A.
    """

    module: str
    a: str
    b: str
    magnitude: str
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter, every tensor of which has its place in the base.

    Attributes:
        folder: where it lies.
        store: its tensors.
        updates: by the base's stored names.
        replaced: tensors that were trained whole, by the base's stored names.
    """

    folder: Path
    store: TensorStore
    updates: Mapping[str, LoraUpdate]
    replaced: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path, base: Checkpoint) -> Self:
        """Open an adapter for a base checkpoint.

        Raises:
            ArtifactError: it is no LoRA that can be merged, it does not belong to the base, or
                some of it is missing.
        """
        config = _read_config(folder)
        store = TensorStore.open(folder / ADAPTER_WEIGHTS)
        try:
            updates, replaced = _placed(folder, config, store, base)
            for name, update in updates.items():
                _check_shapes(folder, store, update, base.store.shape(name))
            for name, own in replaced.items():
                if store.shape(own) != base.store.shape(name):
                    raise ArtifactError(
                        f"{folder}: {own} is {store.shape(own)}, in the base it is "
                        f"{base.store.shape(name)}",
                        _SAVE_AGAIN,
                    )
            _check_complete(folder, config, updates, base)
            _check_saved(folder, config, replaced, base)
        except ArtifactError:
            store.close()
            raise
        return cls(folder, store, updates, replaced)

    def applied(self, name: str, weight: FloatArray) -> FloatArray:
        """The base's weight `name`, (n_out, n_in) float32, with the adapter's update added.

        Raises:
            ArtifactError: the update is all zero or not finite.
        """
        update = self.updates[name]
        a, b = self.store.read(update.a), self.store.read(update.b)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ArtifactError(f"{self.folder}: {update.module} is not finite", _SAVE_AGAIN)
        if not a.any() or not b.any():
            raise ArtifactError(
                f"{self.folder}: the update of {update.module} is all zero",
                "it was never trained: name the folder of the trained adapter",
            )
        merged: FloatArray = weight.copy()
        step = max(1, _ROWS_BYTES // (4 * weight.shape[1]))
        for start in range(0, len(merged), step):
            rows = slice(start, start + step)
            merged[rows] += (b[rows] * np.float32(update.scale)) @ a
        if update.magnitude:
            lengths = np.linalg.norm(merged, axis=1)
            factors = self.store.read(update.magnitude).reshape(-1) / lengths
            merged *= factors[:, None].astype(np.float32)
        return merged

    def close(self) -> None:
        """Close its file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


_ROWS_BYTES: Final = 32 * 1024 * 1024


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ArtifactError(
            f"{folder} holds no {ADAPTER_CONFIG}", "name the folder that PEFT saved the adapter in"
        )
    if folder.resolve().name in ("ref", "reference"):
        raise ArtifactError(
            f"{folder} is the reference policy of a preference training, not what it trained",
            f"name the folder above: {folder.resolve().parent}",
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ArtifactError(
            f"{folder} holds no {ADAPTER_WEIGHTS}",
            "only safetensors are read: save the adapter with safe_serialization=True",
        )
    config = read_json(folder / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise ArtifactError(
            f"{folder}: peft_type is {shown(config.get('peft_type'))}, not 'LORA'", _RETRAIN
        )
    for key in sorted(config.keys() - _UNDERSTOOD):
        if config[key]:
            raise ArtifactError(f"{folder}: {key} is {shown(config[key])}", _RETRAIN)
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ArtifactError(
            f"{folder}: init_lora_weights {shown(start)} changes the base weights",
            "save it with path_initial_model_for_weight_conversion, which makes plain LoRA of it",
        )
    return config


def _placed(
    folder: Path, config: Mapping[str, Any], store: TensorStore, base: Checkpoint
) -> tuple[dict[str, LoraUpdate], dict[str, str]]:
    parts: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    for own in store.names:
        path = own.removeprefix("base_model.model.").replace(".modules_to_save.", ".")
        match = _LORA.fullmatch(path)
        target = base.stored_name(f"{match[1]}.weight" if match else path)
        if target is None or ("lora_" in path and match is None):
            raise ArtifactError(
                f"{folder}: {own} belongs to no tensor of {base.folder}", _SAVE_AGAIN
            )
        if match is None:
            replaced[target] = own
        else:
            parts.setdefault(target, {"module": match[1]})[match[2]] = own
    if both := parts.keys() & replaced.keys():
        raise ArtifactError(f"{folder}: {min(both)} is adapted and replaced", _SAVE_AGAIN)
    if not parts and not replaced:
        raise ArtifactError(f"{folder} holds no tensors", _SAVE_AGAIN)
    updates = {target: _update(folder, config, store, found) for target, found in parts.items()}
    return updates, replaced


def _update(
    folder: Path, config: Mapping[str, Any], store: TensorStore, found: Mapping[str, str]
) -> LoraUpdate:
    dora = bool(config.get("use_dora"))
    wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if dora else set())
    if odd := wanted ^ (found.keys() - {"module"}):
        state = "is missing" if odd & wanted else "is not expected"
        raise ArtifactError(f"{folder}: {min(odd)} of {found['module']} {state}", _SAVE_AGAIN)
    alpha = config.get("lora_alpha")
    for pattern, special in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", found["module"]):
            alpha = special
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or alpha <= 0:
        raise ArtifactError(f"{folder}: lora_alpha is {shown(alpha)}", _SAVE_AGAIN)
    shape = store.shape(found["lora_A"])
    rank = max(shape[0] if shape else 0, 1)
    return LoraUpdate(
        module=found["module"],
        a=found["lora_A"],
        b=found["lora_B"],
        magnitude=found.get("lora_magnitude_vector", ""),
        scale=alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank,
    )


def _check_shapes(
    folder: Path, store: TensorStore, update: LoraUpdate, shape: Sequence[int]
) -> None:
    a, b = store.shape(update.a), store.shape(update.b)
    if len(shape) != 2 or len(a) != 2 or b != (shape[0], a[0]) or a[1] != shape[1]:
        raise ArtifactError(
            f"{folder}: A {a} and B {b} of {update.module} do not fit its weight {tuple(shape)}",
            _SAVE_AGAIN,
        )
    if update.magnitude and math.prod(store.shape(update.magnitude)) != shape[0]:
        raise ArtifactError(
            f"{folder}: the magnitude of {update.module} is {store.shape(update.magnitude)}",
            _SAVE_AGAIN,
        )


def _check_complete(
    folder: Path,
    config: Mapping[str, Any],
    updates: Mapping[str, LoraUpdate],
    base: Checkpoint,
) -> None:
    """A kind of matrix that is adapted in one layer is adapted in all that the config names."""
    chosen = config.get("layers_to_transform")
    layers = None if chosen is None else {chosen} if isinstance(chosen, int) else set(chosen)
    kinds = {_LAYER.sub(".layers.*.", name) for name in updates}
    for name in base.store.names:
        match = _LAYER.search(name)
        if match is None or _LAYER.sub(".layers.*.", name) not in kinds or name in updates:
            continue
        if layers is None or int(match[1] or match[2]) in layers:
            raise ArtifactError(f"{folder}: the update of {name} is missing", _SAVE_AGAIN)
    targets = config.get("target_modules")
    for target in targets if isinstance(targets, list) else []:
        if not any(_ends_with(update.module, target) for update in updates.values()):
            raise ArtifactError(
                f"{folder}: no update is there for the target module {shown(target)}", _SAVE_AGAIN
            )


def _check_saved(
    folder: Path, config: Mapping[str, Any], replaced: Mapping[str, str], base: Checkpoint
) -> None:
    """Every tensor of a module in ``modules_to_save`` is there.

    A whole path begins with the loaded model's ``model.``, which stored names may lack.
    """
    for module in config.get("modules_to_save") or []:
        short = module.removeprefix("model.")
        below = [name for name in base.store.names if f".{short}." in f".{name}"]
        if not below or (missing := set(below) - replaced.keys()):
            lost = min(missing) if below else f"a module {module} of {base.folder}"
            raise ArtifactError(f"{folder}: {lost} is in modules_to_save but missing", _SAVE_AGAIN)


def _ends_with(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")
