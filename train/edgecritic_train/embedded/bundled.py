"""A bundle of the embedded critic as the model that training goes on from.

The inverse of what `edgecritic export embedded` writes: tower, projector and newline from the
mmproj file, the adapter from its own, over the language model that both were trained with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgecritic.bundle import Bundle
from edgecritic.errors import ArtifactError
from edgecritic_train.embedded.config import LoraShape, TowerShape, embedded_geometry
from edgecritic_train.embedded.language_model import BLOCK_NAMES, unpermuted
from edgecritic_train.embedded.model import build, with_lora
from edgecritic_train.embedded.sft import TrainedPart

if TYPE_CHECKING:
    from gguf import GGUFReader
    from peft import PeftModel
    from torch import Tensor

_TOP: Final = {
    "v.patch_embd": "tower.embeddings.patch_embedding",
    "v.position_embd": "tower.embeddings.position_embedding",
    "mm.0": "projector.linear_1",
    "mm.2": "projector.linear_2",
}
_TOWER_BLOCK: Final = {
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_NEWLINE: Final = "v.image_newline"
_BLOCK: Final = re.compile(r"v\.blk\.(\d+)\.(\w+)")
_HALF: Final = re.compile(r"blk\.(\d+)\.(\w+)\.weight\.lora_([ab])")
_HINT: Final = "name a bundle that `edgecritic export embedded` has written"


def load_bundle(bundle: Bundle) -> PeftModel:
    """The critic of a bundle, in float32; the final norm of its tower, which nobody reads, is new.

    Raises:
        ArtifactError: a file is missing or damaged, or the bundle holds a critic of another kind.
    """
    language_model = bundle.file("language_model")
    training: Any = bundle.manifest.training
    try:
        shapes = training["config"]
        tower, lora = TowerShape(**shapes["tower"]), LoraShape(**shapes["lora"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{bundle.folder} does not state its shapes: {error!r}", _HINT
        ) from error
    critic = build(language_model, tower, embedded_geometry())
    text: Any = critic.config.text_config
    heads = {"attn_q": text.num_attention_heads, "attn_k": text.num_key_value_heads}
    model = with_lora(critic, lora)
    part = TrainedPart(model)
    unread = {k: v for k, v in part.state_dict().items() if k.startswith("tower.post_layernorm.")}
    state = {
        **unread,
        **dict(_vision(bundle.file("mmproj"))),
        **dict(_adapter(bundle.file("adapter"), heads)),
    }
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise ArtifactError(f"{bundle.folder} holds other weights: {error}", _HINT) from error
    return model


def _vision(path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in _tensors(path):
        module, _, kind = name.rpartition(".")
        block = _BLOCK.fullmatch(module)
        if name == _NEWLINE:
            yield "newline", tensor
        elif block is not None and block[2] in _TOWER_BLOCK:
            yield f"tower.encoder.layers.{block[1]}.{_TOWER_BLOCK[block[2]]}.{kind}", tensor
        else:
            yield f"{_TOP.get(module, module)}.{kind}", tensor


def _adapter(path: Path, heads: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    """The halves by their stable names; q and k as transformers orders their rows."""
    import torch

    for name, tensor in _tensors(path):
        half = _HALF.fullmatch(name)
        if half is None or half[2] not in BLOCK_NAMES:
            raise ArtifactError(f"{path} holds {name}, which is no part of an adapter", _HINT)
        module = BLOCK_NAMES[half[2]].replace(".", "/")
        turned = half[3] == "b" and half[2] in heads
        values = unpermuted(tensor.numpy(), heads[half[2]]) if turned else tensor
        yield f"lora.layers/{half[1]}/{module}/{half[3].upper()}", torch.as_tensor(values)


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and float32 values of each tensor of a GGUF file."""
    import torch
    from gguf import dequantize

    for tensor in _reader(path).tensors:
        values: Any = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        yield tensor.name, torch.from_numpy(values.reshape(tensor.shape[::-1].tolist()))


def _reader(path: Path) -> GGUFReader:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise ArtifactError(f"{path} cannot be read as GGUF: {error}", _HINT) from error
