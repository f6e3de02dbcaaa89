"""Random LoRA adapters as PEFT saves them, without PEFT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from edgecritic_export.checkpoints.folder import Checkpoint

RANK = 4
MODULES = ("self_attn.q_proj", "mlp.down_proj")


def write_adapter(base: Path, folder: Path, seed: int = 5) -> None:
    """Write an adapter of some matrices of a checkpoint's language model."""
    rng = np.random.default_rng(seed)
    tensors = {}
    with Checkpoint.open(base) as checkpoint:
        shapes = checkpoint.text.tensor_shapes()
    for name, shape in shapes.items():
        module = name.removeprefix("model.").removesuffix(".weight")
        if not module.endswith(MODULES) or len(shape) != 2:
            continue
        at = f"base_model.model.model.language_model.{module}"
        for half, size in (("A", (RANK, shape[1])), ("B", (shape[0], RANK))):
            tensors[f"{at}.lora_{half}.weight"] = rng.normal(0, 0.3, size).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    names = "|".join(module.rpartition(".")[2] for module in MODULES)
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "bias": "none",
        "target_modules": rf".*language_model.*\.({names})",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
