from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgecritic.backends.base import FloatArray, ImageSpan, Span, TextSpan
from edgecritic_export.gguf.mmproj import write_mmproj
from tiny_models import (
    TOWER,
    LanguageModelShape,
    language_tensors,
    vision_tensors,
    vocabulary,
    write_language_model,
)

WIDE = LanguageModelShape(n_embd=256, n_ff=512)
"""Wide enough for blocks of 256 weights."""


@dataclass(frozen=True)
class WideModel:
    """A language model that every quant type fits, with its vision tower."""

    language_model: Path
    mmproj: Path
    n_vocab: int = len(vocabulary())

    def row(self, seed: int, n_features: int = 24) -> tuple[Span, ...]:
        """Text, features of a picture, text."""
        rng = np.random.default_rng(seed)
        features: FloatArray = rng.standard_normal((n_features, WIDE.n_embd)).astype(np.float32)
        before, after = rng.integers(0, self.n_vocab, size=(2, 10)).tolist()
        return TextSpan(tuple(before)), ImageSpan(str(seed), features), TextSpan(tuple(after))


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> WideModel:
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(11)
    model = WideModel(folder / "wide-F32.gguf", folder / "mmproj-F32.gguf")
    write_language_model(language_tensors(WIDE, rng), WIDE, model.language_model)
    tower = vision_tensors(TOWER, WIDE.n_embd, rng)
    write_mmproj(tower, TOWER, model.mmproj, float_type="F32")
    return model
