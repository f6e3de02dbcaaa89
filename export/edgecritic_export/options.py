"""The options of ``edgecritic export``, and what they say about a critic."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecritic.errors import InputError
from edgecritic.manifest import Calibration
from edgecritic.task import Rubric
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import TOWERS
from edgecritic_export.checkpoints.training import SUMMARY

if TYPE_CHECKING:
    from edgecritic_export.checkpoints.source import Source

_BUNDLE = "folder with a critic.json"
_SOURCE = "folder, or owner/name on the hub"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all export commands."""
    parser = argparse.ArgumentParser(
        prog="edgecritic export",
        description="Turns trained checkpoints into the files that the runtime opens.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text, add in _COMMANDS:
        command = commands.add_parser(
            name,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            allow_abbrev=False,
        )
        add(command)
    return parser


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=_SOURCE)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help=f"checkpoint: {_SOURCE}")
    parser.add_argument("adapter", metavar="ADAPTER", help=f"PEFT adapter: {_SOURCE}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the merged checkpoint")
    parser.add_argument("--revision", help="of the base: branch, tag or commit on the hub")
    parser.add_argument("--adapter-revision", help="of the adapter, likewise")
    parser.add_argument(
        "--original-base",
        action="store_true",
        help="merge into the weights as they are, also where the adapter saw them in 4 bits",
    )


def _add_imatrix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="CHECKPOINT|BUNDLE", help=f"{_SOURCE}; or a bundle in F32, F16 or BF16"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument(
        "--items", type=Path, required=True, metavar="SET", help="judged items, with items.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True, help="GGUF file, for all --imatrix")
    parser.add_argument(
        "--dialect", help="prompts of a CHECKPOINT; those of its family when left out"
    )
    parser.add_argument("--text-only", action="store_true", help="leave the pictures out")
    parser.add_argument("--limit", type=int, default=64, help="items to read; default: 64")
    parser.add_argument("--n-ctx", type=int, default=16_384, help="longest row; default: 16384")
    _add_engine(parser)


def _add_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=_SOURCE)
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundles")
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
    _add_adapter(kinds, "stays a file of its own in GGUF and for transformers")
    kinds.add_argument(
        "--calibration",
        type=Path,
        metavar="SET",
        help="judged items on which a four-bit ONNX decoder's eight-bit layers are chosen",
    )
    kinds.add_argument(
        "--calibration-limit", type=int, default=12, help="items of it to use; default: 12"
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
    _add_verification(parser, required=False)
    facts = parser.add_argument_group("what the bundles say")
    facts.add_argument("--facts", type=Path, help="JSON with name, version, base_model, ...")
    facts.add_argument("--name", help="of the critic; the checkpoint's folder when left out")
    facts.add_argument("--critic-version", default=None, help="of the critic; default: 1.0")
    facts.add_argument("--licence", help="SPDX expression of the exported files")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help=_BUNDLE)
    parser.add_argument("--reference", required=True, help=f"its checkpoint: {_SOURCE}")
    _add_adapter(parser, "belongs to the checkpoint")
    _add_verification(parser, required=True)


def _add_adapter(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument("--adapter", metavar="ADAPTER", help=f"LoRA of PEFT that {what}: {_SOURCE}")


def _add_verification(parser: argparse.ArgumentParser, *, required: bool) -> None:
    group = parser.add_argument_group("verification")
    group.add_argument(
        "--rows", type=Path, required=required, help="evaluation set to judge, with items.jsonl"
    )
    group.add_argument("--limit", type=int, default=40, help="pairs to judge; default: 40")
    group.add_argument(
        "--reference-weights",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="of the checkpoint that is compared with; bf16 takes half of the memory",
    )
    _add_engine(group)


def _add_engine(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--threads", type=int, help="the physical cores when left out")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")


def _add_embedded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the training run")
    parser.add_argument(
        "--language-model", type=Path, required=True, help="GGUF that it was trained over"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--version", required=True, help="of the critic, such as 1.0")
    parser.add_argument("--calibration", type=Path, help="JSON from bench calibrate")


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help=_BUNDLE)
    parser.add_argument("--set", type=Path, required=True, dest="folder", help="evaluation set")
    parser.add_argument("--out", type=Path, required=True, help=".npz, for bench parity")
    parser.add_argument("--limit", type=int, help="items of the set")
    parser.add_argument("--threads", type=int, help="the physical cores when left out")


_COMMANDS: Final[tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...]] = (
    ("import", "rewrite an original LLaVA-NeXT checkpoint in transformers' layout", _add_import),
    ("merge", "merge a LoRA or QLoRA adapter into its base", _add_merge),
    ("imatrix", "measure which inputs of a critic's matrices matter", _add_imatrix),
    ("all", "write GGUF and ONNX bundles of a checkpoint, and verify them", _add_all),
    ("verify", "compare bundles with the checkpoint that they were made from", _add_verify),
    ("embedded", "write the bundle of an embedded critic", _add_embedded),
    ("features", "write image features as a bundle's files give them", _add_features),
)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _override(text: str) -> tuple[str, str]:
    pattern, separator, quant = text.rpartition("=")
    if not separator or not pattern or not quant:
        raise argparse.ArgumentTypeError(f"{text!r} is not REGEX=TYPE")
    return pattern, quant


def read_facts(args: argparse.Namespace, source: Source) -> CriticFacts:
    """What ``--facts`` and the options beside it say; options win.

    Raises:
        InputError: the file is no JSON of such facts, or no licence is named.
    """
    found = _read_json(args.facts) if args.facts else {}
    given = {"name": args.name, "version": args.critic_version, "licence": args.licence}
    found |= {key: value for key, value in given.items() if value is not None}
    found.setdefault("name", source.name.rpartition("/")[2])
    found.setdefault("version", "1.0")
    found.setdefault("base_model", source.described)
    if (training := _training(args, source)) is not None:
        found.setdefault("training", training)
    if "licence" not in found:
        raise InputError(
            "the licence of the exported files is not named",
            "add --licence with the licence of the checkpoint, such as Apache-2.0",
        )
    unknown = found.keys() - {field.name for field in fields(CriticFacts)}
    if unknown:
        raise InputError(
            f"{args.facts} has unknown keys: {', '.join(sorted(unknown))}",
            f"known keys: {', '.join(field.name for field in fields(CriticFacts))}",
        )
    try:
        for key, made in (("rubric", Rubric), ("calibration", Calibration)):
            if key in found:
                found[key] = made(**found[key])
        for key in ("good_for", "bad_for"):
            if key in found:
                found[key] = tuple(found[key])
        return CriticFacts(**found)
    except TypeError as error:
        raise InputError(f"{args.facts}: {error}", "look at the keys of a critic.json") from error


def _training(args: argparse.Namespace, source: Source) -> object:
    """What the training wrote down: beside the adapter, or where that was merged."""
    adapter = getattr(args, "adapter", None)
    folder = source.folder if adapter is None else Path(adapter)
    return _read_json(folder / SUMMARY) if (folder / SUMMARY).is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", "give a JSON object") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object", "give a JSON object")
    return found
