"""Rotary tables against transformers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from edgecritic import ArtifactError
from edgecritic.graphs.rope import rotary_tables

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


@pytest.mark.parametrize(
    "scaling", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, LLAMA3]
)
def test_tables_are_those_of_transformers(scaling: dict[str, Any]) -> None:
    parameters = {"rope_theta": 500_000.0, **scaling}
    config = LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        max_position_embeddings=2048,
        rope_parameters=parameters,
    )
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(2048)[None])
    for settings in ({"rope_parameters": parameters}, {"rope_scaling": scaling}):
        tables = rotary_tables(settings, theta=500_000.0, head_dim=64, n_positions=2048)
        # transformers repeats the table for the head's second half
        np.testing.assert_allclose(tables.cos, cos[0, :, :32].numpy(), atol=2e-4)
        np.testing.assert_allclose(tables.sin, sin[0, :, :32].numpy(), atol=2e-4)
        assert np.abs(tables.cos - cos[0, :, :32].numpy()).mean() < 1e-6


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "yarn", "factor": 4.0},
        {"rope_type": "default", "mrope_section": [16, 24, 24]},
        {"rope_type": "default", "partial_rotary_factor": 0.5},
        {"type": "llama3", "factor": 8.0},
        "linear",
    ],
)
def test_other_scalings_are_refused(scaling: object) -> None:
    with pytest.raises(ArtifactError):
        rotary_tables({"rope_scaling": scaling}, theta=1e4, head_dim=64, n_positions=16)
