"""How many bits each part of a decoder is stored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from edgecritic.errors import InputError
from edgecritic.graphs.precision import FloatPrecision, Precision

VisionPrecision: TypeAlias = Literal["fp32", "fp16", "int8"]
"""Of the vision tower; there is no int4: it was measured at 29% of error, which is blindness."""


Variant: TypeAlias = Literal["fp32", "fp16", "q8", "q4", "q4f16"]


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """What one variant is made of.

    Attributes:
        decoder: precision of the decoder's matrices; int4 stands for the mixed one.
        embed_tokens: of the embedding table.
        vision: of vision tower and projector.
        activations: of the decoder.
    """

    decoder: Precision
    embed_tokens: FloatPrecision
    vision: VisionPrecision
    activations: FloatPrecision = "fp32"

    @property
    def decoder_dtype(self) -> str:
        """transformers.js' name of the decoder's type."""
        return "q4f16" if self.activations == "fp16" else DTYPES[self.decoder]

    @property
    def decoder_suffix(self) -> str:
        """What transformers.js appends to the decoder's name for that type."""
        return "_q4f16" if self.activations == "fp16" else SUFFIXES[self.decoder]


VARIANTS: Final[dict[Variant, VariantSpec]] = {
    "fp32": VariantSpec("fp32", "fp32", "fp32"),
    "fp16": VariantSpec("fp16", "fp16", "fp16"),
    "q8": VariantSpec("int8", "fp16", "fp16"),
    "q4": VariantSpec("int4", "fp16", "fp16"),
    "q4f16": VariantSpec("int4", "fp16", "fp16", "fp16"),
}
SUFFIXES: Final[dict[Precision, str]] = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_quantized",
    "int4": "_q4",
}
"""What transformers.js appends to a file's name for each of its types."""
DTYPES: Final[dict[Precision, str]] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "q8",
    "int4": "q4",
}
"""transformers.js' names of the types."""


def variant_spec(name: str) -> VariantSpec:
    """The parts of a variant.

    Raises:
        InputError: there is none of this name.
    """
    if name not in VARIANTS:
        raise InputError(
            f"there is no ONNX variant {name!r}", f"known variants: {', '.join(get_args(Variant))}"
        )
    return VARIANTS[name]
