"""A checkpoint to all the bundles that were asked for, verified where there are rows to judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgecritic import Bundle
from edgecritic.bundle import MANIFEST
from edgecritic.errors import InputError
from edgecritic.locking import exclusive
from edgecritic.staging import remove_unfinished
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.bundles.hf import export_hf
from edgecritic_export.bundles.onnx import LayerCalibration, export_onnx_bundles, measurable
from edgecritic_export.bundles.plan import Plan, Stage, announce
from edgecritic_export.bundles.stages import gguf_stage, hf_stage, onnx_stage, verify_stage
from edgecritic_export.card import write_card
from edgecritic_export.checkpoints.adapter import Adapter
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.lora import LoraConfig
from edgecritic_export.onnx.decoder import check_family
from edgecritic_export.onnx.options import OnnxOptions
from edgecritic_export.progress import Progress
from edgecritic_export.verify.bundles import VerifyOptions, verify_bundles

_LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a checkpoint.

    Attributes:
        gguf: GGUF bundles, below ``gguf``; None for none.
        onnx: ONNX bundles, below ``onnx``; None for none.
        hf: whether the checkpoint's own files become a bundle, too: ``hf``.
        calibration: on what the layers of a four-bit ONNX decoder are chosen.
        adapter: folder of a LoRA adapter that stays apart in GGUF and transformers' format.
        verify: against which rows; None leaves the bundles unverified.
    """

    gguf: GgufOptions | None = None
    onnx: OnnxOptions | None = None
    hf: bool = False
    calibration: LayerCalibration | None = None
    adapter: Path | None = None
    verify: VerifyOptions | None = None

    def __post_init__(self) -> None:
        if self.gguf is None and self.onnx is None and not self.hf:
            raise InputError("nothing is asked for", "name --quants, --onnx, --hf, or several")
        if self.adapter is not None and self.onnx is not None:
            raise InputError(
                "ONNX files hold no adapter of their own",
                "merge it first: edgecritic export merge BASE ADAPTER --out MERGED",
            )


def export_all(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: ExportOptions,
    progress: Progress,
) -> list[Bundle]:
    """Write bundles, verify those that were not yet, and give each its card.

    A run that was interrupted or killed goes on; what is there is not made again. Two at a time
    wait for each other.

    Args:
        checkpoint: open.
        out: made if need be.
        facts: what the manifests say.
        options: what to make.
        progress: is told what goes on.

    Returns:
        All bundles, GGUF first.

    Raises:
        CriticError: something cannot be exported, or the disk is too small for all of it; the
            message says what.
    """
    if options.onnx is not None:
        check_family(checkpoint)
    if options.adapter is not None:
        _check_adapter(options.adapter, checkpoint, gguf=options.gguf is not None)
    out.mkdir(parents=True, exist_ok=True)
    busy = f"another export to {out} is going on: waiting for its end"
    with exclusive(out / _LOCK, lambda: progress(busy)):
        remove_unfinished(out)
        return _export_all(checkpoint, out, facts, options, progress)


def _export_all(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: ExportOptions,
    progress: Progress,
) -> list[Bundle]:
    if stages := tuple(_stages(checkpoint, out, facts, options)):
        announce(Plan(stages), out, progress)
    bundles = _write(checkpoint, out, facts, options, progress)
    open_ones = [bundle for bundle in bundles if bundle.manifest.verified is None]
    if options.verify is not None and open_ones:
        verify_bundles(open_ones, checkpoint, options.verify, progress)
    else:
        for bundle in open_ones:
            write_card(bundle.folder, bundle.manifest)
    return [Bundle.read(bundle.folder) for bundle in bundles]


def _check_adapter(adapter: Path, checkpoint: Checkpoint, *, gguf: bool) -> None:
    """Before hours of writing: is it one of this checkpoint's, and one that llama.cpp computes?"""
    Adapter.open(adapter, checkpoint).close()
    if gguf:
        LoraConfig.read(adapter, checkpoint)


def _stages(
    checkpoint: Checkpoint, out: Path, facts: CriticFacts, options: ExportOptions
) -> Iterator[Stage]:
    """Those that are not complete."""
    gguf, onnx = options.gguf, options.onnx
    ggufs = [out / "gguf" / quant for quant in gguf.quants] if gguf else []
    onnxes = [out / "onnx" / "variants" / variant for variant in onnx.variants] if onnx else []
    hf = [out / "hf"] if options.hf else []
    if gguf is not None and not all(map(_is_bundle, ggufs)):
        yield gguf_stage(checkpoint, facts.name, gguf)
    if onnx is not None and not all(map(_is_bundle, onnxes)):
        measured = options.calibration is not None and measurable(onnx)
        yield onnx_stage(checkpoint, onnx, measured=measured)
    if not all(map(_is_bundle, hf)):
        yield hf_stage(checkpoint, out)
    if options.verify is not None and not all(map(_is_checked, (*ggufs, *onnxes, *hf))):
        yield verify_stage(checkpoint, options.verify.reference.weights)


def _is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _is_checked(folder: Path) -> bool:
    return _is_bundle(folder) and Bundle.read(folder).manifest.verified is not None


def _write(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: ExportOptions,
    progress: Progress,
) -> list[Bundle]:
    bundles: list[Bundle] = []
    if options.gguf is not None:
        gguf = replace(options.gguf, adapter=options.adapter)
        bundles += export_gguf(checkpoint, out / "gguf", facts, gguf, progress)
    if options.onnx is not None:
        bundles += export_onnx_bundles(
            checkpoint,
            out / "onnx",
            facts,
            options.onnx,
            calibration=options.calibration,
            progress=progress,
        )
    if options.hf:
        bundles.append(export_hf(checkpoint, out / "hf", facts, options.adapter, progress))
    return bundles
