"""Blocks against gguf-py, which reads them as llama.cpp does."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from edgecritic import ArtifactError
from edgecritic.derived.dequantize import dequantize

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


@pytest.mark.parametrize("name", TYPES)
def test_rows_are_those_of_the_reference(name: str) -> None:
    values = np.random.default_rng(3).standard_normal((7, 96)).astype(np.float32)
    kind = gguf.GGMLQuantizationType[name]
    stored = gguf.quants.quantize(values, kind).view(np.uint8).reshape(7, -1)
    expected = gguf.quants.dequantize(stored, kind).reshape(7, -1)
    found = dequantize(stored[2:5], name)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected[2:5])
    assert np.abs(found - values[2:5]).max() < 0.3


def test_other_types_are_refused() -> None:
    with pytest.raises(ArtifactError, match="Q4_K cannot be converted") as caught:
        dequantize(np.zeros((1, 144), dtype=np.uint8), "Q4_K")
    assert "edgecritic[llama]" in caught.value.hint
