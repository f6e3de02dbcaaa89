"""``edgecritic export embedded``: the bundle of an embedded critic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic_export.commands.options import command_parser
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded


def main(argv: Sequence[str]) -> int:
    """Write the bundle, and print its files' sizes."""
    parser = command_parser("embedded", "Writes the bundle of an embedded critic.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the training run")
    parser.add_argument(
        "--language-model", type=Path, required=True, help="GGUF that it was trained over"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--version", required=True, help="of the critic, such as 1.0")
    parser.add_argument("--calibration", type=Path, help="JSON from bench calibrate")
    args = parser.parse_args(argv)
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
