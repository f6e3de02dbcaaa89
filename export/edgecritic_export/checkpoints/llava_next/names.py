"""Names of LLaVA-NeXT's tensors, and what they are called in transformers' files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from edgecritic.errors import ArtifactError

_TOWER: Final = "model.vision_tower.vision_tower.vision_model."
# Exactly these prefixes; whatever begins otherwise is refused.
_PREFIXES: Final = (
    *(
        (f"{_TOWER}{module}.", f"vision_tower.vision_model.{module}.")
        for module in (
            "embeddings.patch_embedding",
            "embeddings.position_embedding",
            "encoder.layers",
            "post_layernorm",
        )
    ),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("model.image_newline", "image_newline"),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
)
# Buffers that are computed anew, and the pooling head that LLaVA-NeXT takes off.
_DROPPED: Final = re.compile(
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
    r"|model\.rotary_emb\.inv_freq"
    rf"|{re.escape(_TOWER)}(embeddings\.position_ids|head\..+)"
)
_TOWER_LAYER: Final = re.compile(re.escape(_TOWER) + r"encoder\.layers\.(\d+)\.")


def transformers_names(stored: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Where every tensor of an original checkpoint goes.

    Args:
        stored: names in the original checkpoint.

    Returns:
        transformers' names by original ones, and the original names of what is left out.

    Raises:
        ArtifactError: a tensor has no place in LLaVA-OneVision.
    """
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    for name in stored:
        if _DROPPED.fullmatch(name):
            dropped.append(name)
            continue
        target = _renamed(name)
        if target is None:
            raise ArtifactError(
                f"tensor {name} has no place in LLaVA-OneVision",
                "import a whole checkpoint of LlavaQwenForCausalLM with a SigLIP tower and a "
                "projector of two linear layers",
            )
        renamed[name] = target
    return renamed, tuple(dropped)


def tower_layers(stored: Iterable[str]) -> int:
    """Encoder layers of the vision tower that are stored; 0 without a tower."""
    found = (_TOWER_LAYER.match(name) for name in stored)
    return len({match[1] for match in found if match is not None})


def _renamed(name: str) -> str | None:
    for original, target in _PREFIXES:
        if name.startswith(original):
            return target + name.removeprefix(original)
    return None
