"""SigLIP tower and projector as one torch module, and its trace."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModel
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionMultiModalProjector,
)

from edgecritic.errors import ArtifactError
from edgecritic.graphs.model_file import OPSET
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.protobuf import onnx

# With a batch of one, torch would take the one for a constant.
_SAMPLE_TILES: Final = 2


class VisionEncoder(torch.nn.Module):
    """Tiles to projected features, tile by tile.

    Args:
        tower: transformers' SigLIP tower.
        projector: transformers' projector of LLaVA-OneVision.
        depth: after how many of the tower's layers features are taken.
    """

    def __init__(self, tower: torch.nn.Module, projector: torch.nn.Module, depth: int) -> None:
        super().__init__()
        self.tower = tower
        self.projector = projector
        self.depth = depth

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(tiles, 3, S, S) to (tiles, patches, n_embd), both float32."""
        tower: Any = self.tower
        hidden = tower.embeddings(pixel_values)
        for layer in tower.encoder.layers[: self.depth]:
            hidden = layer(hidden, None)
        features: torch.Tensor = self.projector(hidden)
        return features


def vision_encoder(checkpoint: Checkpoint) -> VisionEncoder:
    """The module with a checkpoint's weights, in float32."""
    config: Any = AutoConfig.for_model(**checkpoint.config)
    config.vision_config.vision_use_head = False
    tower = AutoModel.from_config(config.vision_config)
    tower.post_layernorm = torch.nn.Identity()  # behind all layers that features come from
    projector = LlavaOnevisionMultiModalProjector(config)
    _load(tower, checkpoint, checkpoint.vision_tensors())
    _load(projector, checkpoint, checkpoint.projector_tensors())
    # transformers counts hidden states, and the first of them has seen no layer.
    layer: int = config.vision_feature_layer
    depth = layer if layer >= 0 else config.vision_config.num_hidden_layers + 1 + layer
    return VisionEncoder(tower, projector, depth).eval()


def trace(checkpoint: Checkpoint) -> onnx.ModelProto:
    """See `edgecritic_export.onnx.vision.trace_vision`."""
    side = checkpoint.config["vision_config"]["image_size"]
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            vision_encoder(checkpoint),
            (torch.zeros(_SAMPLE_TILES, 3, side, side),),
            input_names=["pixel_values"],
            output_names=["image_features"],
            dynamic_shapes=({0: torch.export.Dim("tiles")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ArtifactError("torch traced no graph", "this is a fault: please report it")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself: deprecations, and torchvision's absence."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _load(module: torch.nn.Module, checkpoint: Checkpoint, names: Mapping[str, str]) -> None:
    """Fill a module; weights that it has no place for are left out."""
    own = module.state_dict()
    weights = {name: torch.from_numpy(checkpoint.store.read(names[name])) for name in own}
    module.load_state_dict(weights, assign=True)
