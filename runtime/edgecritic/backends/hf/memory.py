"""Keys and values of one sequence, in the form that transformers' models extend."""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, DynamicLayer

from edgecritic.backends.workbench import Slots


class TorchMemory:
    """A stretch of positions, allocated once.

    Args:
        n_layers: of the language model.
        n_heads: of keys and values.
        head_dim: width of one of them.
        n_positions: how long a sequence may be.
        dtype: of keys and values.
        device: where they lie.
    """

    def __init__(
        self,
        *,
        n_layers: int,
        n_heads: int,
        head_dim: int,
        n_positions: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (n_layers, 2, 1, n_heads, n_positions, head_dim)
        self._values = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def cell_bytes(self) -> int:
        """Keys and values of one position."""
        return self._values[..., 0, :].numel() * self._values.element_size()

    def take(self, slots: Slots) -> torch.Tensor:
        """A copy of some positions."""
        return self._values[..., torch.from_numpy(slots).to(self._values.device), :]

    def put(self, start: int, copy: torch.Tensor) -> None:
        """Write positions back."""
        self._values[..., start : start + copy.shape[-2], :] = copy

    def cache(self, length: int) -> Cache:
        """The first `length` positions as a past; what a model adds is written behind them."""
        return Cache(layers=[_Layer(keys, values, length) for keys, values in self._values])


class _Layer(DynamicLayer):
    """A dynamic cache's layer that grows in place instead of being copied for each call."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self._all_keys, self._all_values = keys, values
        self.lazy_initialization(keys, values)
        self._extend_to(length)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new positions; returns all keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self._all_keys[:, :, start:end] = key_states
        self._all_values[:, :, start:end] = value_states
        return self._extend_to(end)

    def _extend_to(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._all_keys[:, :, :length], self._all_values[:, :, :length]
        self.keys, self.values = keys, values
        return keys, values
