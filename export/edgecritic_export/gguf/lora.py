"""PEFT LoRA weights of a critic's language model as a llama.cpp adapter GGUF."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edgecritic.errors import ArtifactError
from edgecritic.language_layout import MODULES, permute_for_rope
from edgecritic.text_shape import Architecture
from edgecritic_export.checkpoints.folder import ADAPTER_CONFIG, Checkpoint, read_json
from edgecritic_export.checkpoints.store import TensorStore
from edgecritic_export.gguf.file import FloatType, Tensor, TensorSource, write_gguf

GgufArchitecture: TypeAlias = Architecture | Literal["qwen2vl"]
_ARCHITECTURES: Final[dict[str, GgufArchitecture]] = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen2_5_vl": "qwen2vl",  # 4.x keeps the language model's numbers at the top
    "qwen2_5_vl_text": "qwen2vl",
}
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
# "...layers.3.self_attn.q_proj.lora_A.weight"; a live PEFT model has ".default" before ".weight".
_NAME: Final = re.compile(r"\.layers\.(\d+)\.([a-z_.]+)\.lora_([AB])(?:\.\w+)?\.weight$")


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What the adapter file says besides its matrices.

    Attributes:
        architecture: of the base model's GGUF.
        n_head: attention heads.
        n_head_kv: key and value heads.
        alpha: LoRA alpha; the update is scaled by alpha / rank.
        rank_stabilised: the update is scaled by alpha / sqrt(rank) instead (PEFT's rsLoRA).
    """

    architecture: GgufArchitecture
    n_head: int
    n_head_kv: int
    alpha: float
    rank_stabilised: bool = False

    @classmethod
    def read(cls, folder: Path, checkpoint: Checkpoint) -> LoraConfig:
        """Read the settings of a folder that PEFT has saved; raises as `from_checkpoint` does."""
        return cls.from_checkpoint(
            read_json(folder / ADAPTER_CONFIG),
            checkpoint.config.get("text_config") or checkpoint.config,
        )

    @classmethod
    def from_checkpoint(
        cls, adapter_config: Mapping[str, object], text_config: Mapping[str, object]
    ) -> LoraConfig:
        """Read PEFT's ``adapter_config.json`` and the language model's config.

        Args:
            adapter_config: parsed ``adapter_config.json``.
            text_config: parsed ``config.json`` of the language model, or its ``text_config``.

        Raises:
            ArtifactError: a variant of LoRA that llama.cpp does not compute.
        """
        for key in ("use_dora", "alpha_pattern", "modules_to_save", "trainable_token_indices"):
            if adapter_config.get(key):
                raise ArtifactError(
                    f"adapter_config.json: {key} is {adapter_config[key]!r}",
                    "merge this adapter into the model, or train plain LoRA",
                )
        if adapter_config.get("bias", "none") != "none":
            raise ArtifactError(
                "the adapter trains biases", "merge it into the model, or train with bias='none'"
            )
        architecture = _ARCHITECTURES.get(str(text_config.get("model_type")))
        if architecture is None:
            raise ArtifactError(
                f"language model {text_config.get('model_type')!r} is not one of "
                f"{', '.join(_ARCHITECTURES)}",
                "merge the adapter and convert the whole model",
            )
        n_head = int(str(text_config["num_attention_heads"]))
        return cls(
            architecture=architecture,
            n_head=n_head,
            n_head_kv=int(str(text_config.get("num_key_value_heads") or n_head)),
            alpha=float(str(adapter_config["lora_alpha"])),
            rank_stabilised=bool(adapter_config.get("use_rslora")),
        )


def write_lora(
    peft_state: Mapping[str, Tensor],
    config: LoraConfig,
    path: Path,
    *,
    float_type: FloatType = "F16",
    name: str = "edgecritic adapter",
) -> None:
    """Write the adapter file of a critic.

    Args:
        peft_state: A (rank, n_in) and B (n_out, rank) of each adapted layer, by PEFT's names.
        config: the rest.
        path: the file to make.
        float_type: how the matrices are stored.
        name: ``general.name``.

    Raises:
        ArtifactError: a tensor that llama.cpp cannot apply, a missing half, or different ranks.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    for source, tensor in peft_state.items():
        target, half = _target_name(source)
        halves.setdefault(target, {})[half] = _reorder(target, half, tensor, config)
    if not halves or config.alpha <= 0:  # llama.cpp reads alpha 0 as "do not scale"
        raise ArtifactError(
            f"{len(halves)} adapted layers with alpha {config.alpha}", "train the adapter first"
        )
    tensors: dict[str, TensorSource] = {}
    for target, pair in sorted(halves.items()):
        if pair.keys() != {"a", "b"} or pair["a"].shape[0] != pair["b"].shape[1]:
            shapes = {half: tensor.shape for half, tensor in pair.items()}
            raise ArtifactError(f"{target}: LoRA halves {shapes} do not match", "save it again")
        for half in ("a", "b"):
            tensors[f"{target}.lora_{half}"] = TensorSource.of(pair[half], float_type)
    write_gguf(
        path,
        config.architecture,
        {
            "general.type": "adapter",
            "general.name": name,
            "adapter.type": "lora",
            "adapter.lora.alpha": _alpha(halves, config),
        },
        tensors,
    )


def write_adapter(
    folder: Path,
    checkpoint: Checkpoint,
    path: Path,
    *,
    float_type: FloatType = "F16",
    name: str = "edgecritic adapter",
) -> None:
    """Write the adapter file of a folder that PEFT has saved.

    Args:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        checkpoint: the model that the adapter was trained over.
        path: the file to make.
        float_type: how the matrices are stored.
        name: ``general.name``.

    Raises:
        ArtifactError: the folder cannot be read, the adapter changes more than the matrices of
            the language model's layers, or it belongs to a model of other shapes.
    """
    config = LoraConfig.read(folder, checkpoint)
    with TensorStore.open(folder / ADAPTER_WEIGHTS) as store:
        state = {key: store.read(key) for key in store.names}
    _check_widths(state, checkpoint, folder)
    write_lora(state, config, path, float_type=float_type, name=name)


def _check_widths(state: Mapping[str, Tensor], checkpoint: Checkpoint, folder: Path) -> None:
    """llama.cpp would find these faults as well, but only when a critic is loaded."""
    shapes = checkpoint.text.tensor_shapes()
    for key, tensor in state.items():
        match = _NAME.search(key)
        if match is None:
            continue  # refused later, with its name
        weight = shapes.get(f"model.layers.{int(match[1])}.{match[2]}.weight")
        side = 1 if match[3] == "A" else 0
        if weight is None or tensor.ndim != 2 or tensor.shape[side] != weight[side]:
            raise ArtifactError(
                f"{folder}: {key} is {tensor.shape}, the matrix of {checkpoint.folder} {weight}",
                "name the checkpoint that the adapter was trained over",
            )


def _target_name(source: str) -> tuple[str, str]:
    match = _NAME.search(source)
    if match is None or match[2] not in MODULES or "vision_tower" in source:
        raise ArtifactError(
            f"llama.cpp cannot apply the LoRA tensor {source}",
            f"adapt only {', '.join(MODULES)} of the language model, or merge the adapter",
        )
    return f"blk.{int(match[1])}.{MODULES[match[2]]}.weight", match[3].lower()


def _reorder(target: str, half: str, tensor: Tensor, config: LoraConfig) -> Tensor:
    if half == "b" and config.architecture == "llama":
        if ".attn_q." in target:
            return permute_for_rope(tensor, config.n_head)
        if ".attn_k." in target:
            return permute_for_rope(tensor, config.n_head_kv)
    return tensor


def _alpha(halves: Mapping[str, Mapping[str, Tensor]], config: LoraConfig) -> float:
    """The alpha that llama.cpp, which divides it by the rank, must be given."""
    if not config.rank_stabilised:
        return config.alpha
    ranks = {pair["a"].shape[0] for pair in halves.values()}
    if len(ranks) != 1:
        raise ArtifactError(
            f"a rank-stabilised adapter with ranks {sorted(ranks)}", "use one rank, or merge it"
        )
    return config.alpha * math.sqrt(ranks.pop())
