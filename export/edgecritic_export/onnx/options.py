"""What to write, and how carefully; needs no onnx, so that a command line can name it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgecritic.errors import InputError
from edgecritic.graphs.precision import Importance
from edgecritic_export.onnx.precision import (
    VARIANTS,
    Variant,
    VariantSpec,
    VisionPrecision,
    variant_spec,
)


@dataclass(frozen=True, slots=True)
class QuantizationLimits:
    """How far a four-bit decoder may go from the eight-bit one.

    Attributes:
        max_kl: mean KL divergence to aim at, in nats, over all positions that matter.
        max_eight_bit: share of the layers that may stay at eight bits, in [0, 1].
        n_threads: of the measurements; onnxruntime's own choice when left out.
    """

    max_kl: float = 0.005
    max_eight_bit: float = 0.5
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """What was measured, and what follows from it.

    Attributes:
        alone: for each layer the mean KL divergence with only this one at four bits, in nats.
        eight_bit: layers to keep at eight bits, ascending.
        kl: mean KL divergence of that choice from the all-eight-bit decoder.
        importance: how strongly each input of the layers' matrices is driven, for their rounding.
        measured_on: what the rows were, in words.
    """

    alone: tuple[float, ...]
    eight_bit: tuple[int, ...]
    kl: float
    importance: Importance = field(default_factory=dict, repr=False)
    measured_on: str = ""


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """What to write.

    Attributes:
        variants: at least one.
        choice: what `choose_eight_bit` measured, for the q4 decoder; the layers of
            `usual_eight_bit` and plain rounding when left out.
        default: variant that transformers.js loads when none is named; the last when left out.
        vision: precision of the vision tower in all variants but fp32, instead of fp16.
        external: whether weights lie beside their graphs, where an engine maps them instead of
            holding a second copy while it opens the model; None does so where they must.
    """

    variants: tuple[Variant, ...] = ("fp32", "fp16", "q8", "q4")
    choice: LayerChoice | None = None
    default: Variant | None = None
    vision: VisionPrecision | None = None
    external: bool | None = True

    def __post_init__(self) -> None:
        if not self.variants:
            raise InputError("no ONNX variant is asked for", f"name some of {', '.join(VARIANTS)}")
        for name in self.variants:
            variant_spec(name)

    def spec(self, variant: Variant) -> VariantSpec:
        """The parts of a variant."""
        spec = VARIANTS[variant]
        if self.vision is None or variant == "fp32":
            return spec
        return replace(spec, vision=self.vision)
