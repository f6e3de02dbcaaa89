"""What a bundle says about its critic: ``--facts``, and the options beside it."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgecritic.errors import InputError
from edgecritic.manifest import Calibration
from edgecritic.task import Rubric
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.checkpoints.source import Source
from edgecritic_export.checkpoints.training import SUMMARY


def add_facts(parser: argparse.ArgumentParser) -> None:
    """Add what `read_facts` reads."""
    facts = parser.add_argument_group("what the bundles say")
    facts.add_argument("--facts", type=Path, help="JSON with name, version, base_model, ...")
    facts.add_argument("--name", help="of the critic; the checkpoint's folder when left out")
    facts.add_argument("--critic-version", default=None, help="of the critic; default: 1.0")
    facts.add_argument("--licence", help="SPDX expression of the exported files")


def read_facts(args: argparse.Namespace, source: Source) -> CriticFacts:
    """What ``--facts`` and the options beside it say; options win.

    Raises:
        InputError: the file is no JSON of such facts, or no licence is named.
    """
    found = _read_json(args.facts) if args.facts else {}
    given = {"name": args.name, "version": args.critic_version, "licence": args.licence}
    found |= {key: value for key, value in given.items() if value is not None}
    found.setdefault("name", _named(source))
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


def _named(source: Source) -> str:
    """The checkpoint's own name, in the letters that a critic's may have."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", source.name.rpartition("/")[2])
    return plain.strip("-._+")[:128] or "critic"


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
