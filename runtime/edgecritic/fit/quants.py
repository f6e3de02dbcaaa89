"""Which of a critic's quant types a machine has room for, by the names that its bundles have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edgecritic.manifest import FORMATS, BundleFile, Format, Manifest


@dataclass(frozen=True, slots=True)
class QuantType:
    """How a critic's weights are rounded.

    Attributes:
        name: of the bundles that are exported so.
        bits: of a weight in the files, mixes and scales included.
        held: the same in memory.
    """

    name: str
    bits: float
    held: float


_GGUF_BITS: Final = {
    "F32": 32.0,
    "F16": 16.0,
    "BF16": 16.0,
    "Q8_0": 8.5,
    "Q6_K": 6.6,
    "Q5_K_M": 5.7,
    "Q4_K_M": 4.9,
    "Q4_1": 5.0,
    "Q4_0": 4.6,
    "IQ4_XS": 4.4,
    "Q3_K_M": 4.0,
    "Q2_K": 3.2,
}  # of a 7B
_ONNX_TYPES: Final = {
    "F32": QuantType("fp32", 32.0, 32.0),
    "F16": QuantType("fp16", 16.0, 32.0),  # ONNX Runtime multiplies in float32 on a CPU
    "Q8": QuantType("q8", 9.0, 9.0),
    "Q4": QuantType("q4", 7.5, 7.5),  # half of the layers keep eight bits
}
QUANT_TYPES: Final[Mapping[Format, Mapping[str, QuantType]]] = MappingProxyType(
    {
        "gguf": {name: QuantType(name, bits, bits) for name, bits in _GGUF_BITS.items()},
        "onnx": _ONNX_TYPES,
    }
)
"""By the name in `BundleFile.quant`."""
_OFFERED: Final[Mapping[Format, tuple[str, ...]]] = MappingProxyType(
    {
        "gguf": ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"),
        "onnx": ("F32", "F16", "Q8", "Q4"),
    }
)
"""Those that are suggested, the largest first."""


def type_of(manifest: Manifest, name: Format) -> QuantType | None:
    """The quant type of a critic in one format; None where the bundle does not tell it."""
    models = manifest.having("language_model" if name == "gguf" else "decoder")
    return QUANT_TYPES.get(name, {}).get(models[0].quant) if models else None


def largest_quant(manifest: Manifest, name: Format, room: float) -> str | None:
    """The largest quant type in which a critic's weights take at most `room` bytes of memory.

    None where not even the smallest does, or the bundle does not tell its own type.
    """
    now = type_of(manifest, name)
    if now is None:
        return None
    model = _model_size(manifest, name)
    others = weights_size(manifest, name) - model
    offered = (QUANT_TYPES[name][quant] for quant in _OFFERED[name])
    fitting = (kind for kind in offered if model * kind.held / now.bits + others <= room)
    return next((kind.name for kind in fitting), None)


def weights_of(manifest: Manifest, name: Format) -> list[BundleFile]:
    """Files of a format that hold weights."""
    roles = set(FORMATS[name].roles) - {"tokenizer", "config"}
    return [file for file in manifest.files if file.role in roles]


def weights_size(manifest: Manifest, name: Format) -> int:
    """Bytes of a critic's weights in one format."""
    return sum(file.size for file in weights_of(manifest, name))


def looked_up_size(manifest: Manifest) -> int:
    """Bytes of token embeddings in a file of their own: it is mapped, and few rows are read."""
    return _data_size(manifest, manifest.having("embed_tokens"))


def _model_size(manifest: Manifest, name: Format) -> int:
    """Bytes of the language model, which is what quant types differ in."""
    graphs = manifest.having("language_model" if name == "gguf" else "decoder")
    return sum(file.size for file in graphs) + _data_size(manifest, graphs)


def _data_size(manifest: Manifest, graphs: Sequence[BundleFile]) -> int:
    """Bytes of the weights that lie beside ONNX graphs."""
    names = {f"{graph.path}_data" for graph in graphs}
    return sum(file.size for file in manifest.having("external_data") if file.path in names)
