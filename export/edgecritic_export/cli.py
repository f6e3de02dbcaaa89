"""``edgecritic export``: checkpoints to the files that the runtime opens.

stdout is data, stderr is talk, as in the runtime's own commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from edgecritic import Bundle, InputError
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import MANIFEST
from edgecritic.cli.console import Console
from edgecritic_export.bundles.everything import ExportOptions, export_all
from edgecritic_export.bundles.gguf import GgufOptions
from edgecritic_export.bundles.importance import (
    CalibrationOptions,
    bundle_importance,
    checkpoint_importance,
)
from edgecritic_export.bundles.onnx import LayerCalibration
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.llava_next import import_checkpoint
from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded
from edgecritic_export.features import bundle_features, save_features
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.onnx.options import OnnxOptions, QuantizationLimits
from edgecritic_export.options import build_parser, read_facts
from edgecritic_export.verify.bundles import VerifyOptions, verify_bundles
from edgecritic_export.verify.checks import table


def main(argv: Sequence[str]) -> int:
    """Run an export command.

    Args:
        argv: the arguments behind ``edgecritic export``.

    Returns:
        The exit status; 1 if an export is not verified.

    Raises:
        CriticError: what went wrong; the runtime's command line turns it into text and a status.
        SystemExit: argparse refuses the arguments, or was asked for help.
    """
    args = build_parser().parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "import": _import,
        "merge": _merge,
        "imatrix": _imatrix,
        "all": _all,
        "verify": _verify,
        "embedded": _embedded,
        "features": _features,
    }
    return commands[args.command](args)


def _import(args: argparse.Namespace) -> int:
    source = resolve(args.source, args.revision)
    told = _Told()
    done = import_checkpoint(source.folder, args.out, origin=source.origin, progress=told)
    told(f"{done.tensors} tensors, {done.nbytes / 1e9:.2f} GB{'' if done.written else ' already'}")
    if done.dropped:
        told(f"left out, as nothing reads them: {', '.join(done.dropped)}")
    print(done.folder)
    return 0


def _merge(args: argparse.Namespace) -> int:
    base = resolve(args.base, args.revision)
    adapter = resolve(args.adapter, args.adapter_revision).folder
    told = _Told()
    dequantise = False if args.original_base else None
    done = merge_adapter(
        base.folder,
        adapter,
        args.out,
        dequantise=dequantise,
        base_model=base.described,
        progress=told,
    )
    told(f"largest relative change: {done.largest_change:.3g}, of {done.most_changed}")
    if done.vanished:
        told(f"lost in rounding to the base's type: {', '.join(done.vanished)}")
    print(done.folder)
    return 0


def _imatrix(args: argparse.Namespace) -> int:
    engine = EngineOptions(n_ctx=args.n_ctx, n_threads=args.threads, device=args.device)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    options = CalibrationOptions(args.items, args.limit, args.text_only, engine, args.dialect)
    if (Path(args.source) / MANIFEST).is_file():
        importance = bundle_importance(Bundle.read(args.source), options, _Told())
    else:
        folder = resolve(args.source, args.revision).folder
        with Checkpoint.open(folder) as checkpoint:
            importance = checkpoint_importance(checkpoint, args.out, options, _Told())
    importance.write(args.out)
    seen = f"{importance.n_rows} rows of {max(importance.counts.values()):,} positions"
    print(f"{args.out}: {len(importance.names)} matrices, {seen}")
    return 0


def _all(args: argparse.Namespace) -> int:
    importance = None if args.imatrix is None else ImportanceMatrix.read(args.imatrix)
    gguf = GgufOptions(args.quants, tuple(args.override), importance, args.mmproj)
    options = ExportOptions(
        gguf=gguf if args.quants else None,
        onnx=OnnxOptions(args.onnx, vision=args.vision) if args.onnx else None,
        hf=args.hf,
        calibration=_layer_calibration(args),
        adapter=None if args.adapter is None else resolve(args.adapter).folder,
        verify=_verify_options(args) if args.rows else None,
    )
    source = resolve(args.checkpoint, args.revision)
    with Checkpoint.open(source.folder) as checkpoint:
        facts = read_facts(args, source)
        bundles = export_all(checkpoint, args.out, facts, options, _Told())
    for bundle in bundles:
        state = {True: "verified", False: "NOT verified", None: "not checked"}
        size = sum(file.size for file in bundle.manifest.files)
        print(f"{size / 1e6:>10,.1f} MB  {state[bundle.manifest.verified]:<12}  {bundle.folder}")
    return int(any(bundle.manifest.verified is False for bundle in bundles))


def _layer_calibration(args: argparse.Namespace) -> LayerCalibration | None:
    if args.calibration is None:
        return None
    if not {"q4", "q4f16"} & set(args.onnx):
        raise InputError(
            "--calibration chooses the layers of a four-bit ONNX decoder, and none is asked for",
            "add --onnx q4; for GGUF, give the file of export imatrix as --imatrix",
        )
    limits = QuantizationLimits(n_threads=args.threads)
    return LayerCalibration(args.calibration, args.calibration_limit, limits)


def _verify(args: argparse.Namespace) -> int:
    bundles = [Bundle.read(folder) for folder in args.bundles]
    with Checkpoint.open(resolve(args.reference).folder) as checkpoint:
        found = verify_bundles(bundles, checkpoint, _verify_options(args), _Told())
    for bundle, verification in zip(bundles, found, strict=True):
        print(f"{bundle.folder}\n\n{table(verification.checks)}")
    return int(not all(verification.passed for verification in found))


def _verify_options(args: argparse.Namespace) -> VerifyOptions:
    engine = EngineOptions(n_threads=args.threads, device=args.device)
    reference = replace(engine, weights=args.reference_weights)
    adapter = None if args.adapter is None else resolve(args.adapter).folder
    return VerifyOptions(args.rows, args.limit, reference, engine, adapter)


def _embedded(args: argparse.Namespace) -> int:
    options = EmbeddedOptions(args.version, args.calibration)
    bundle = export_embedded(args.run, args.language_model, args.out, options)
    inside = [file for file in bundle.manifest.files if not file.external]
    for file in inside:
        print(f"{file.size:>12,}  {file.path}")
    print(f"{sum(file.size for file in inside):>12,}  {bundle.name} in {bundle.folder}")
    for file in bundle.manifest.files:
        if file.external:
            print(f"not counted: {file.path}, {file.size:,} bytes, fetched by models pull")
    return 0


def _features(args: argparse.Namespace) -> int:
    bundle = Bundle.read(args.bundle)
    found = bundle_features(bundle, args.folder, limit=args.limit, threads=args.threads)
    save_features(found, args.out)
    print(f"{len(found)} pictures in {args.out}")
    return 0


class _Told:
    """Progress on stderr."""

    def __init__(self) -> None:
        self._console = Console.standard()

    def __call__(self, line: str) -> None:
        self._console.talk(line)

    def measured(
        self, label: str, total: int, done: Callable[[], int]
    ) -> AbstractContextManager[None]:
        return self._console.measured(label, total, done)
