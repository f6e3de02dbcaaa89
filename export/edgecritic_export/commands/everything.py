"""``edgecritic export all``: GGUF and ONNX bundles of a checkpoint, verified."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgecritic import InputError
from edgecritic.cli.options import at_least
from edgecritic_export.bundles.everything import ExportOptions, export_all
from edgecritic_export.bundles.gguf import TOWERS, GgufOptions
from edgecritic_export.bundles.onnx import LayerCalibration
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.commands.facts import add_facts, read_facts
from edgecritic_export.commands.options import (
    SOURCE,
    Told,
    add_adapter,
    add_verification,
    command_parser,
    verification,
)
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.onnx.options import OnnxOptions, QuantizationLimits


def main(argv: Sequence[str]) -> int:
    """Export, and print a line for each bundle; 1 if one is not verified."""
    args = _parser().parse_args(argv)
    importance = None if args.imatrix is None else ImportanceMatrix.read(args.imatrix)
    gguf = GgufOptions(args.quants, tuple(args.override), importance, args.mmproj)
    options = ExportOptions(
        gguf=gguf if args.quants else None,
        onnx=OnnxOptions(args.onnx, vision=args.vision) if args.onnx else None,
        hf=args.hf,
        calibration=_layer_calibration(args),
        adapter=None if args.adapter is None else resolve(args.adapter).folder,
        verify=verification(args) if args.rows else None,
    )
    source = resolve(args.checkpoint, args.revision)
    with Checkpoint.open(source.folder) as checkpoint:
        facts = read_facts(args, source)
        bundles = export_all(checkpoint, args.out, facts, options, Told())
    for bundle in bundles:
        state = {True: "verified", False: "NOT verified", None: "not checked"}
        size = sum(file.size for file in bundle.manifest.files)
        print(f"{size / 1e6:>10,.1f} MB  {state[bundle.manifest.verified]:<12}  {bundle.folder}")
    return int(any(bundle.manifest.verified is False for bundle in bundles))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "all", "Writes GGUF and ONNX bundles of a checkpoint, and verifies them."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=SOURCE)
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundles")
    _add_kinds(parser)
    add_verification(parser, required=False)
    add_facts(parser)
    return parser


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_argument_group("what to make")
    kinds.add_argument("--quants", type=_listed, default=(), help="GGUF, such as Q8_0,Q4_K_M")
    kinds.add_argument("--onnx", type=_listed, default=(), help="ONNX, of fp32,fp16,q8,q4,q4f16")
    kinds.add_argument(
        "--hf", action="store_true", help="the checkpoint's own files, for transformers"
    )
    kinds.add_argument(
        "--mmproj", choices=TOWERS, help="vision tower of GGUF; half precision when left out"
    )
    kinds.add_argument(
        "--vision",
        choices=("fp32", "fp16", "int8"),
        help="vision tower of ONNX, of all but fp32; fp16 when left out",
    )
    add_adapter(kinds, "stays a file of its own in GGUF and for transformers")
    kinds.add_argument(
        "--calibration",
        type=Path,
        metavar="SET",
        help="judged items on which a four-bit ONNX decoder's eight-bit layers are chosen",
    )
    kinds.add_argument(
        "--calibration-limit", type=at_least(1), default=12, help="items of it to use; default: 12"
    )
    kinds.add_argument("--imatrix", type=Path, help="importance matrix for the GGUF types")
    kinds.add_argument(
        "--override",
        type=_override,
        action="append",
        default=[],
        metavar="REGEX=TYPE",
        help="another type for the tensors whose names match",
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _override(text: str) -> tuple[str, str]:
    pattern, separator, quant = text.rpartition("=")
    if not separator or not pattern or not quant:
        raise argparse.ArgumentTypeError(f"{text!r} is not REGEX=TYPE")
    return pattern, quant


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
