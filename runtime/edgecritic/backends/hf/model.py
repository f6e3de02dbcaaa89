"""A transformers model as a `Model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from edgecritic.backends.base import Cancelled, CancelToken, FloatArray, UInt8Array
from edgecritic.backends.chunk import Chunk
from edgecritic.backends.hf.artifacts import QWEN
from edgecritic.backends.hf.memory import TorchMemory
from edgecritic.backends.hf.towers import native_features, tile_features
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.vision.geometries import Geometry
from edgecritic.vision.native import NativeGeometry


class HfModel:
    """Language model, tower and projector of one LLaVA-OneVision or Qwen2.5-VL.

    Args:
        model: transformers' model for generation, with or without LoRA layers in it.
        geometry: of its pictures; None for a critic of text.
        n_positions: how long a sequence may be.

    Attributes:
        memory: of the sequence that is computed.
    """

    def __init__(self, model: Any, geometry: Geometry | None, n_positions: int) -> None:
        text = model.config.text_config
        self._grid = model.config.model_type == QWEN
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
    def decode(self, chunk: Chunk, start: int, cancel: CancelToken | None) -> FloatArray:
        """See `Model.decode`."""
        embeddings = self._tensor(chunk.embeddings[None])
        # A language model without rows and columns counts its positions by itself.
        places = torch.from_numpy(chunk.positions).long()[:, None] if self._grid else None
        with _told(f"{start + len(chunk)} positions"), _stopped_by(cancel, self._layers):
            found = self._model(
                inputs_embeds=embeddings,
                position_ids=None if places is None else places.to(embeddings.device),
                past_key_values=self.memory.cache(start),
                use_cache=True,
                logits_to_keep=1,
            )
            return _array(found.logits[0, -1])

    @torch.inference_mode()
    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """See `Backend.encode_tiles`."""
        if self._geometry is None:
            raise InputError("this critic reads text only", "load it with its image geometry")
        with _told(f"{len(tiles)} tiles"):
            if isinstance(self._geometry, NativeGeometry):
                found = native_features(self._model, tiles, self._geometry)
            else:
                found = tile_features(self._model, tiles, self._geometry)
            features = _array(found)
        if not np.isfinite(features).all():
            raise BackendUnavailableError(
                "the vision tower gave features that are not finite",
                "a weight overflows in half precision: load the critic with weights='bf16'",
            )
        return features

    def _tensor(self, values: FloatArray) -> torch.Tensor:
        model = self._model
        on_device = torch.from_numpy(np.ascontiguousarray(values)).to(model.device)
        return on_device.to(model.get_input_embeddings().weight.dtype)


def _array(values: torch.Tensor) -> FloatArray:
    found: FloatArray = values.float().cpu().numpy()
    return found


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell what torch raises as a request's error: its GPU may be full, or gone."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BackendUnavailableError(
            f"the GPU's memory does not hold {what}",
            "lower EngineOptions.n_batch or n_ctx, or load the weights as int8 or int4",
        ) from error
    except RuntimeError as error:  # errors of a GPU among them
        reason = str(error).strip().partition("\n")[0]
        raise BackendUnavailableError(
            f"torch failed at {what}: {reason}",
            "load the critic again, in a new process if need be",
        ) from error


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
