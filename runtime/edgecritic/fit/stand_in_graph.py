"""What ONNX Runtime's costs are learnt from: products, a vocabulary, layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final, cast
from zlib import crc32

import numpy as np

from edgecritic.fit.pace import LayerShape
from edgecritic.graphs.decoder import write_decoder
from edgecritic.graphs.linear import write_linear
from edgecritic.graphs.model_file import ModelFile
from edgecritic.graphs.precision import DecoderPrecision, Precision
from edgecritic.graphs.weights import ALL, FloatArray, Matrix
from edgecritic.text_shape import TextShape

WIDE: Final = 1536
NARROW: Final = 576
N_PRODUCTS: Final = 32
_PARTS: Final = 182


@dataclass(frozen=True, slots=True)
class _Weights:
    """Matrices by name, (outputs, inputs), and vectors."""

    shapes: Mapping[str, tuple[int, ...]]

    def has(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        parts = zip(self.shapes[name], (rows, columns), strict=False)
        size = tuple(len(range(length)[part]) for length, part in parts)
        # Numbers of its own: ONNX Runtime keeps equal matrices once, Linux may drop zeros.
        values = np.random.default_rng(crc32(name.encode())).normal(0, 0.02, 1009)
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


@dataclass(frozen=True, slots=True)
class _LanguageModel(_Weights):
    """A language model of such matrices."""

    text: TextShape
    rope_scaling: Mapping[str, object]


def write_layers(path: Path, layer: LayerShape, n_layers: int, n_positions: int) -> None:
    """A decoder of equal layers and a small vocabulary, as `write_decoder` writes it."""
    text = TextShape(
        architecture="llama",
        n_layers=n_layers,
        n_embd=layer.n_embd,
        n_ff=layer.n_ff,
        n_head=layer.n_head,
        n_head_kv=layer.n_head_kv,
        head_dim=layer.head_dim,
        n_vocab=_PARTS,
        rms_eps=1e-5,
        rope_theta=10_000.0,
        n_ctx=n_positions,
        tied=True,
    )
    precision = DecoderPrecision.uniform(cast(Precision, layer.types[0]), n_layers)
    write_decoder(_LanguageModel(text.tensor_shapes(), text, {}), path, precision, external=True)
