"""A transformers model as a `Model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from edgecritic.backends.base import Cancelled, CancelToken, FloatArray, UInt8Array
from edgecritic.backends.checks import check_tiles
from edgecritic.backends.hf.memory import TorchMemory
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.vision.geometry import ImageGeometry
from edgecritic.vision.tiling import pixel_values


class HfModel:
    """Language model, tower and projector of one LLaVA-OneVision.

    Args:
        model: a `LlavaOnevisionForConditionalGeneration`, with or without LoRA layers in it.
        geometry: of its pictures; None for a critic of text.
        n_positions: how long a sequence may be.

    Attributes:
        memory: of the sequence that is computed.
    """

    def __init__(self, model: Any, geometry: ImageGeometry | None, n_positions: int) -> None:
        text = model.config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._model = model
        self._geometry = geometry
        self._layers = model.model.language_model.layers
        self.memory = TorchMemory(
            n_layers=text.num_hidden_layers,
            n_heads=text.num_key_value_heads,
            head_dim=head_dim,
            n_positions=n_positions,
            dtype=model.get_input_embeddings().weight.dtype,
            device=model.device,
        )

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> FloatArray:
        """See `Model.embed`."""
        ids = torch.tensor(tokens, device=self._model.device)
        return _array(self._model.get_input_embeddings()(ids))

    @torch.inference_mode()
    def decode(self, chunk: FloatArray, start: int, cancel: CancelToken | None) -> FloatArray:
        """See `Model.decode`."""
        embeddings = self._tensor(chunk[None])
        try:
            with _stopped_by(cancel, self._layers):
                found = self._model(
                    inputs_embeds=embeddings,
                    past_key_values=self.memory.cache(start),
                    use_cache=True,
                    logits_to_keep=1,
                )
        except torch.OutOfMemoryError as error:
            raise BackendUnavailableError(
                f"the GPU's memory does not hold {start + len(chunk)} positions",
                "lower EngineOptions.n_batch or n_ctx, or load the weights as int8 or int4",
            ) from error
        return _array(found.logits[0, -1])

    @torch.inference_mode()
    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """See `Backend.encode_tiles`."""
        if self._geometry is None:
            raise InputError("this critic reads text only", "load it with its image geometry")
        check_tiles(tiles, self._geometry.tile_size)
        pixels = pixel_values(tiles, self._geometry)
        shape = (self._geometry.patches_per_side**2, self._model.config.text_config.hidden_size)
        features = np.empty((len(tiles), *shape), dtype=np.float32)
        for one, out in zip(pixels, features, strict=True):
            out[:] = _array(self._features(self._tensor(one[None]))[0])
        if not np.isfinite(features).all():
            raise BackendUnavailableError(
                "the vision tower gave features that are not finite",
                "a weight overflows in half precision: load the critic with weights='bf16'",
            )
        return features

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, patches, n_embd) before packing, which transformers would do by itself."""
        config, parts = self._model.config, self._model.model
        states = parts.vision_tower(pixels, output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        hidden = torch.cat(chosen, dim=-1)
        if config.vision_feature_select_strategy == "default":
            hidden = hidden[:, 1:]  # without the class token
        features: torch.Tensor = parts.multi_modal_projector(hidden)
        return features

    def _tensor(self, values: FloatArray) -> torch.Tensor:
        model = self._model
        on_device = torch.from_numpy(np.ascontiguousarray(values)).to(model.device)
        return on_device.to(model.get_input_embeddings().weight.dtype)


def _array(values: torch.Tensor) -> FloatArray:
    found: FloatArray = values.float().cpu().numpy()
    return found


@contextmanager
def _stopped_by(cancel: CancelToken | None, layers: Any) -> Iterator[None]:
    """Ask a token before each layer."""
    if cancel is None:
        yield
        return

    def ask(_module: object, _inputs: object) -> None:
        if cancel.cancelled:
            raise Cancelled

    hooks = [layer.register_forward_pre_hook(ask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
