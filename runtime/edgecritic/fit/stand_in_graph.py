"""What ONNX Runtime's costs are learnt from: products and a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final

import numpy as np

from edgecritic.graphs.linear import write_linear
from edgecritic.graphs.model_file import ModelFile
from edgecritic.graphs.precision import Precision
from edgecritic.graphs.weights import ALL, FloatArray, Matrix

WIDE: Final = 1536
NARROW: Final = 576
N_PRODUCTS: Final = 32
_PARTS: Final = 182


@dataclass(frozen=True, slots=True)
class _Weights:
    """Matrices by name, (outputs, inputs)."""

    shapes: Mapping[str, tuple[int, int]]

    def has(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        n_rows, n_columns = self.shapes[name]
        size = len(range(n_rows)[rows]), len(range(n_columns)[columns])
        # Numbers of its own: ONNX Runtime keeps equal matrices once, Linux may drop zeros.
        values = np.random.default_rng([len(self.shapes), int(name[1:])]).normal(0, 0.02, 1009)
        return np.resize(values.astype(np.float32), size)


def write_products(path: Path, precision: Precision) -> None:
    """`N_PRODUCTS` matrices behind each other, between widths `NARROW` and `WIDE` and back."""
    shapes = [(WIDE, NARROW), (NARROW, WIDE)] * (N_PRODUCTS // 2)
    weights = _Weights({f"m{number}": shape for number, shape in enumerate(shapes)})
    with ModelFile(path) as model:
        value = model.input("x", "float32", "n", NARROW)
        for name in weights.shapes:
            value = write_linear(model, Matrix(weights, (name,)), value, name, precision)
        model.output(model.node("Identity", [value], ["y"]), "float32", "n", NARROW)
        model.finish()


def write_vocabulary(path: Path) -> int:
    """A ``tokenizer.json`` with a merge for nearly each of its words; returns their number."""
    parts = ["".join(pair) for pair in product(ascii_letters[:14], ascii_letters[:13])][:_PARTS]
    merges = [list(pair) for pair in product(parts, parts)]
    words = [*parts, *("".join(merge) for merge in merges)]
    model = {
        "type": "BPE",
        "vocab": {word: number for number, word in enumerate(words)},
        "merges": merges,
    }
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    return len(words)
