"""Estimated sizes of language models beside those that llama.cpp's quantizer wrote."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.sizes import language_bytes

N_EMBD, N_KV, N_FF, N_LAYER, N_VOCAB = 576, 192, 1536, 30, 49152


def smollm2() -> Checkpoint:
    """The matrices of SmolLM2-135M, whose rows are no multiple of 256 but in `down_proj`."""
    inputs = {"q": N_EMBD, "k": N_KV, "v": N_KV, "o": N_EMBD, "gate": N_FF, "up": N_FF}
    shapes = {"model.embed_tokens.weight": (N_VOCAB, N_EMBD)}
    for layer in range(N_LAYER):
        shapes |= {f"{layer}.{name}": (rows, N_EMBD) for name, rows in inputs.items()}
        shapes[f"{layer}.down"] = (N_EMBD, N_FF)
    stub: Any = SimpleNamespace(
        language_tensors=lambda: {name: name for name in shapes},
        store=SimpleNamespace(shape=shapes.__getitem__),
        text=SimpleNamespace(tied=True),
    )
    return cast(Checkpoint, stub)


@pytest.mark.parametrize(
    ("quant", "written"),
    # Bytes of the embedded critic's exported language model: scripts/measure_ladder.py prints the
    # bundles, of which 28.8 MB are the tower.
    [
        ("F16", 270.9e6),
        ("Q8_0", 144.8e6),
        ("Q6_K", 138e6),
        ("Q5_K_M", 112e6),
        ("Q4_K_M", 105.5e6),
        ("Q4_0", 91.7e6),
        ("IQ4_XS", 91e6),
        ("Q3_K_M", 93e6),
        ("Q2_K", 88e6),
    ],
)
def test_a_small_models_file_is_estimated_with_its_fallbacks(quant: str, written: float) -> None:
    assert language_bytes(smollm2(), quant) == pytest.approx(written, rel=0.06)
