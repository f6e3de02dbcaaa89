"""One checkpoint to several ONNX bundles, the four-bit one rounded by what the critic reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edgecritic import Bundle
from edgecritic.bundle import MANIFEST
from edgecritic.errors import InputError
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.recipe import claim
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import ITEMS
from edgecritic_export.onnx.calibrate import calibrate, read_choice, write_choice
from edgecritic_export.onnx.layout import export_onnx, remove_variant
from edgecritic_export.onnx.options import LayerChoice, OnnxOptions, QuantizationLimits
from edgecritic_export.onnx.precision import Variant
from edgecritic_export.progress import SILENCE, Progress

_CHOICE: Final = ".choice.npz"  # until the export is complete: measuring takes longest
_HELPER: Final[Variant] = "q8"
"""What tokenizes and sees while the four-bit layers are chosen; its tower is that of q4."""


@dataclass(frozen=True, slots=True)
class LayerCalibration:
    """On what the layers of a four-bit decoder are chosen.

    Attributes:
        items: an evaluation set, with ``items.jsonl``, that the critic was not trained on and
            will not be verified on.
        limit: items to use.
        limits: how far the four-bit decoder may go.
    """

    items: Path
    limit: int = 12
    limits: QuantizationLimits = field(default_factory=QuantizationLimits)

    def __post_init__(self) -> None:
        if not (self.items / ITEMS).is_file():
            raise InputError(
                f"{self.items} holds no {ITEMS}", "write items with: edgecritic train items"
            )


def export_onnx_bundles(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: OnnxOptions,
    *,
    calibration: LayerCalibration | None = None,
    progress: Progress = SILENCE,
) -> list[Bundle]:
    """Write a bundle for each variant.

    What is there already is kept, file by file: a run that was interrupted goes on, and one that
    was not does nothing.

    Args:
        checkpoint: open.
        out: folder of the export; see `edgecritic_export.onnx.layout`.
        facts: what the manifests say.
        options: which variants.
        calibration: chooses a four-bit decoder's eight-bit layers by measurement; without it the
            usual ones are taken. Of no use for other variants.
        progress: is told what goes on.

    Raises:
        ArtifactError: the folder holds another export, or the checkpoint cannot be exported.
        InputError: the items cannot be used.
    """
    measured = calibration if measurable(options) else None
    claim(out, checkpoint, {"vision": options.vision, "calibration": _identity(measured)})
    folders = {variant: out / "variants" / variant for variant in options.variants}
    missing = tuple(name for name, folder in folders.items() if not (folder / MANIFEST).exists())
    if missing:
        rest = replace(options, variants=missing, default=options.variants[-1])
        export = _Export(checkpoint, out, facts, rest, progress)
        export.write(measured if measurable(rest) else None)
        if _HELPER not in options.variants:
            remove_variant(out, _HELPER, options)
    return [Bundle.read(folder) for folder in folders.values()]


@dataclass(frozen=True, slots=True)
class _Export:
    checkpoint: Checkpoint
    out: Path
    facts: CriticFacts
    options: OnnxOptions
    progress: Progress

    def write(self, calibration: LayerCalibration | None) -> None:
        """Everything that `options` asks for."""
        if calibration is None:
            self._export(self.options)
            return
        kept = self.out / _CHOICE
        choice = read_choice(kept) if kept.exists() else self._measure(calibration)
        write_choice(choice, kept)
        self._export(replace(self.options, choice=choice))
        kept.unlink()

    def _export(self, options: OnnxOptions) -> dict[Variant, Bundle]:
        described = self.facts.manifest(self.checkpoint, ())
        return export_onnx(self.checkpoint, self.out, described, options, self.progress, keep=True)

    def _measure(self, calibration: LayerCalibration) -> LayerChoice:
        helper = self._export(helping(self.options))[_HELPER]
        self.progress(f"choosing the four-bit layers on judgements of {calibration.items.name}")
        choice = calibrate(
            self.checkpoint,
            helper,
            calibration.items,
            self.out,
            limit=calibration.limit,
            limits=calibration.limits,
        )
        kept = len(choice.eight_bit)
        self.progress(f"{kept} of {len(choice.alone)} layers stay at eight bits")
        return choice


def helping(options: OnnxOptions) -> OnnxOptions:
    """What is written besides while the layers of a four-bit decoder are chosen."""
    return replace(options, variants=(_HELPER,))


def measurable(options: OnnxOptions) -> bool:
    """Whether there is a four-bit decoder among the variants."""
    return any(options.spec(variant).decoder == "int4" for variant in options.variants)


def _identity(calibration: LayerCalibration | None) -> Mapping[str, object] | None:
    if calibration is None:
        return None
    items = (calibration.items / ITEMS).read_bytes()
    # Threads change how long it takes.
    limits = (calibration.limits.max_kl, calibration.limits.max_eight_bit)
    return {"items": items, "limit": calibration.limit, "limits": limits}
