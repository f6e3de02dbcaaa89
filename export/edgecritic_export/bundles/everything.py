"""A checkpoint to all the bundles that were asked for, verified where there are rows to judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecritic import Bundle
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.bundles.onnx import LayerCalibration, export_onnx_bundles
from edgecritic_export.card import write_card
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import check_family
from edgecritic_export.onnx.options import OnnxOptions
from edgecritic_export.progress import Progress
from edgecritic_export.verify.bundles import VerifyOptions, verify_bundles


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a checkpoint.

    Attributes:
        gguf: GGUF bundles, below ``gguf``; None for none.
        onnx: ONNX bundles, below ``onnx``; None for none.
        calibration: on what the layers of a four-bit ONNX decoder are chosen.
        verify: against which rows; None leaves the bundles unverified.
    """

    gguf: GgufOptions | None = None
    onnx: OnnxOptions | None = None
    calibration: LayerCalibration | None = None
    verify: VerifyOptions | None = None


def export_all(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: ExportOptions,
    progress: Progress,
) -> list[Bundle]:
    """Write bundles, verify those that were not yet, and give each its card.

    A run that was interrupted goes on; what is there is not made again.

    Args:
        checkpoint: open.
        out: made if need be.
        facts: what the manifests say.
        options: what to make.
        progress: is told what goes on.

    Returns:
        All bundles, GGUF first.

    Raises:
        CriticError: something cannot be exported; the message says what.
    """
    if options.onnx is not None:
        check_family(checkpoint)
    bundles: list[Bundle] = []
    if options.gguf is not None:
        bundles += export_gguf(checkpoint, out / "gguf", facts, options.gguf, progress)
    if options.onnx is not None:
        bundles += export_onnx_bundles(
            checkpoint,
            out / "onnx",
            facts,
            options.onnx,
            calibration=options.calibration,
            progress=progress,
        )
    open_ones = [bundle for bundle in bundles if bundle.manifest.verified is None]
    if options.verify is not None and open_ones:
        verify_bundles(open_ones, checkpoint, options.verify, progress)
    else:
        for bundle in open_ones:
            write_card(bundle.folder, bundle.manifest)
    return [Bundle.read(bundle.folder) for bundle in bundles]
