"""The arms of a comparison: what they are made of, and which full-precision arm each is held to."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgecritic import Bundle, InputError
from edgecritic.bundle import MANIFEST, describe_file, write_bundle
from edgecritic.locking import exclusive

ArmRole: TypeAlias = Literal["reference", "rerun", "runtime", "quantized"]
REFERENCE, RERUN = "reference", "re-run"
_FULL = ("F32", "F16", "BF16")
"""Precisions that count as full, the finest first."""
_ENGINES = {"gguf": "llamacpp", "onnx": "onnx", "hf": "hf"}
_LANGUAGE = {"gguf": "language_model", "onnx": "decoder", "hf": "checkpoint"}
_TOWER = {"gguf": "mmproj", "onnx": "vision_encoder", "hf": "checkpoint"}
_VARIANTS = {"F32": "fp32", "F16": "fp16", "Q8": "q8", "Q4": "q4"}
"""ONNX variants by their decoders, as the export's options call them."""
_CONFIGS = (".json",)
_WEIGHTS = (".safetensors",)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to run the critic.

    Attributes:
        name: for people; files are named after it.
        role: the reference, its re-run, a runtime in full precision, or quantized.
        folder: of the bundle.
        backend: engine that runs it.
        language_model: quant type of the language model; empty where the checkpoint itself runs.
        tower: quant type of vision tower and projector, likewise.
        rounding: what weighed the rounding, in words; empty where nothing did.
        n_bytes: of all files that it loads.
        base: name of the full-precision arm of the same runtime; empty for those that have none.
        files: sha256 over the bundle's files.
        tower_sha256: of the vision tower's file.
        token_kl: nats a token, from the bundle's own verification; None where there was none.
    """

    name: str
    role: ArmRole
    folder: str
    backend: str
    language_model: str
    tower: str
    rounding: str
    n_bytes: int
    base: str
    files: str
    tower_sha256: str
    token_kl: float | None = None

    @property
    def slug(self) -> str:
        """The name as a file's."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Arm:
        """The inverse of `to_dict`."""
        return cls(**data)


def plan_arms(bundles: Sequence[str], reference: Path | None, work: Path) -> tuple[Arm, ...]:
    """All arms, the reference first, its re-run second.

    Args:
        bundles: folders, each a bundle or with bundles below it; ``NAME=FOLDER`` names one.
        reference: checkpoint or bundle that transformers runs in full precision; where it is left
            out, the finest of the bundles takes its place, and runtimes cannot be told apart.
        work: a folder in which a bundle of the checkpoint is laid out.

    Raises:
        InputError: there is no bundle, two arms have the same name, or nothing is quantized.
        ArtifactError: a bundle cannot be read.
    """
    found = [arm for word in bundles for arm in _arms_of(word)]
    if not found:
        raise InputError("there is no bundle to judge with", "name folders that hold a critic.json")
    if reference is not None:
        like = Bundle.read(found[0].folder)
        work.mkdir(parents=True, exist_ok=True)
        # Several commands may run on one folder, each with its own arms.
        with exclusive(work / ".reference"):
            first = replace(_arm(REFERENCE, _checkpoint(reference, like, work)), role="reference")
    else:
        first = min(found, key=_fineness)
        found.remove(first)
        first = replace(first, role="reference")
    rerun = replace(first, name=RERUN, role="rerun")
    arms = (first, rerun, *_with_bases(found, first))
    names = [arm.slug.lower() for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"several arms are called {min(twice)!r}", "name them: NAME=FOLDER")
    return arms


def _arms_of(word: str) -> list[Arm]:
    name, _, folder = word.rpartition("=")
    path = Path(folder).expanduser()
    if (path / MANIFEST).is_file():
        return [_arm(name, Bundle.read(path))]
    below = sorted(file.parent for file in path.rglob(MANIFEST))
    if name and len(below) > 1:
        raise InputError(f"{path} holds {len(below)} bundles", "give each a name of its own")
    return [_arm(name, Bundle.read(folder)) for folder in below]


def _arm(name: str, bundle: Bundle) -> Arm:
    manifest = bundle.manifest
    format_ = manifest.formats[0]
    quants = [
        next((f.quant for f in manifest.files if f.role == roles[format_]), "")
        for roles in (_LANGUAGE, _TOWER)
    ]
    language_model, tower = quants if format_ != "hf" else ("", "")
    weighed = _weighed(manifest.rounding)
    told = [format_, language_model, _matrix(weighed)] if format_ == "gguf" else []
    if format_ == "onnx":
        told = [format_, _VARIANTS.get(language_model, language_model.lower())]
    if tower and tower not in _FULL:
        told.append(f"tower {tower}")
    towers = [f.sha256 for f in manifest.files if f.role == _TOWER[format_]]
    return Arm(
        name=name or " ".join(filter(None, told)) or bundle.name,
        role="runtime" if {language_model, tower} <= {"", *_FULL} else "quantized",
        folder=str(bundle.folder.absolute()),
        backend=_ENGINES[format_],
        language_model=language_model,
        tower=tower,
        rounding=weighed,
        n_bytes=sum(file.size for file in manifest.files if file.role != "config"),
        base="",
        files=_digest([file.sha256 for file in manifest.files]),
        tower_sha256=_digest(towers),
        token_kl=_token_kl(manifest.verification),
    )


def _weighed(rounding: object) -> str:
    """What an importance matrix was measured on."""
    if isinstance(rounding, Mapping) and isinstance(rounding.get("importance"), list):
        return ", ".join(str(name) for name in rounding["importance"])
    return ""


def _matrix(weighed: str) -> str:
    """An importance matrix in a name: arms of both kinds are compared."""
    return weighed and ("text imatrix" if "text only" in weighed else "imatrix")


def _token_kl(verification: object) -> float | None:
    checks = verification.get("checks") if isinstance(verification, Mapping) else None
    for check in checks or ():
        if "KL divergence" in str(check.get("name")) and check.get("value") is not None:
            return float(check["value"])
    return None


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _fineness(arm: Arm) -> tuple[int, int, int]:
    """Sorts the finest first: the reference engine, then precision."""
    ranks = [_FULL.index(q) if q in _FULL else len(_FULL) for q in (arm.language_model, arm.tower)]
    return (-1 if arm.backend == "hf" else max(ranks), sum(ranks), -arm.n_bytes)


def _with_bases(arms: Sequence[Arm], reference: Arm) -> list[Arm]:
    """Each arm with the finest full-precision arm of its runtime."""
    bases: dict[str, str] = {reference.backend: reference.name}
    for arm in sorted((arm for arm in arms if arm.role == "runtime"), key=_fineness):
        bases.setdefault(arm.backend, arm.name)
    return [
        replace(arm, base="" if bases.get(arm.backend) == arm.name else bases.get(arm.backend, ""))
        for arm in sorted(arms, key=lambda a: (a.backend, a.role == "quantized", -a.n_bytes))
    ]


def _checkpoint(source: Path, like: Bundle, work: Path) -> Bundle:
    """A checkpoint's folder as a bundle: prompts, rubric and geometry are those of `like`."""
    source = source.expanduser()
    if (source / MANIFEST).is_file():
        return Bundle.read(source)
    weights, configs = (
        sorted(path for path in source.glob("*") if path.suffix in suffixes)
        for suffixes in (_WEIGHTS, _CONFIGS)
    )
    if not weights:
        raise InputError(
            f"{source} holds neither a critic.json nor safetensors",
            "name the folder of a checkpoint, or leave --reference out",
        )
    target = work / "reference"
    target.mkdir(parents=True, exist_ok=True)
    here = {path.name: _linked(path, target) for path in (*weights, *configs)}
    files = [
        *(describe_file("checkpoint", here[path.name]) for path in weights),
        *(describe_file("config", here[path.name]) for path in configs),
    ]
    for newline in like.manifest.having("image_newline"):
        here[newline.path] = _linked(like.folder / newline.path, target)
        files.append(newline)
    manifest = replace(like.manifest, files=tuple(files), verification=None, rounding=None)
    return write_bundle(target, manifest, here)


def _linked(path: Path, folder: Path) -> Path:
    """A second name of a file where the disk can give it one; else the file itself."""
    target = folder / path.name
    if not target.exists():
        try:
            os.link(path, target)
        except OSError:
            return path
    return target


def write_arms(path: Path, arms: Sequence[Arm]) -> None:
    """Keep the arms for the workers."""
    text = json.dumps([arm.to_dict() for arm in arms], indent=2) + "\n"
    # In one step: other commands on the folder, and their workers, read it.
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def read_arms(path: Path) -> tuple[Arm, ...]:
    """What `write_arms` wrote."""
    return tuple(Arm.from_dict(entry) for entry in json.loads(path.read_text(encoding="utf-8")))
