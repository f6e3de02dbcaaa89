"""What a run was made of: settings, data, versions, state of the code."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

from edgecritic.errors import ArtifactError
from edgecritic_train.critic_data.rows import CriticRow, ImageFile
from edgecritic_train.critic_data.writing import LOCK, alone, writing
from edgecritic_train.tuning.checkpoints import write_whole
from edgecritic_train.tuning.settings import plain

RUN: Final = "run.json"
CONFIG: Final = "config.yaml"
METRICS: Final = "metrics.jsonl"
BOARD: Final = "tensorboard"
_BEGUN: Final = (LOCK, RUN, f".{RUN}.part", CONFIG, f".{CONFIG}.part")
"""What others leave in a folder that was empty: a start that was killed, or goes on just now."""
_PACKAGES: Final = (
    *("edgecritic", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes"),
    *("datasets", "tokenizers", "numpy", "pillow"),
)
# May differ between a run and what goes on with it: they decide how, not what.
_FREE: Final = (("data", "workers"), ("checkpoints", "keep"), ("output",))


def data_fingerprint(rows: Iterable[CriticRow]) -> str:
    """SHA-256 (hex) over rows; of a picture in a file, its size counts, not its content."""
    digest = hashlib.sha256()
    for row in rows:
        fields = row.to_dict()
        fields["images"] = [
            [ref.path.name, ref.path.stat().st_size if ref.path.is_file() else -1]
            if isinstance(ref, ImageFile)
            else hashlib.sha256(ref.data).hexdigest()
            for ref in row.images
        ]
        digest.update(json.dumps(fields, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any]:
    """Commit of this code and whether files were changed; empty outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(git("status", "--porcelain"))} if commit else {}
    except OSError:
        return {}


class Run(Protocol):
    """Settings of anything that has a folder."""

    @property
    def output(self) -> Path: ...


def begin_run(
    config: Run, facts: Mapping[str, Any], free: Sequence[tuple[str, ...]] = _FREE
) -> None:
    """Write ``run.json`` and ``config.yaml``, or check that the run in the folder is the same.

    Args:
        config: resolved.
        facts: what decides the numbers besides: the data's fingerprint, the base's settings.
        free: keys that may differ from those of the run that is gone on with.

    Raises:
        ArtifactError: the folder holds another run or something else, or cannot be written to.
    """
    import yaml

    folder = config.output
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file", "name another output folder")
    path = folder / RUN
    settings = plain(config)
    if path.is_file():
        _check_same(path, {"config": settings, **facts}, free)
        return
    if folder.is_dir() and any(path.name not in _BEGUN for path in folder.iterdir()):
        raise ArtifactError(
            f"{folder} holds files, and no {RUN} of a run", "name another output folder"
        )
    with alone(folder, lambda _: None), writing(folder):
        if path.is_file():  # of a process that was started together with this one
            _check_same(path, {"config": settings, **facts}, free)
            return
        write_whole(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        record = {"config": settings, **facts, "versions": versions(), "git": git_state()}
        write_whole(path, json.dumps(record, indent=2) + "\n")


def read_run(folder: Path) -> dict[str, Any]:
    """The record of a run.

    Raises:
        ArtifactError: there is none.
    """
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is no folder of a run: {error}", "name one") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{folder / RUN} holds no record", "name the folder of a run")
    return found


def _check_same(path: Path, wanted: Mapping[str, Any], unlocked: Sequence[tuple[str, ...]]) -> None:
    recorded, now = _flat(read_run(path.parent)), _flat(json.loads(json.dumps(wanted)))
    free = [".".join(("config", *keys)) for keys in unlocked]
    differing = [key for key in now if key not in free and recorded.get(key, "nothing") != now[key]]
    if differing:
        key = differing[0]
        made = any(entry.name not in (*_BEGUN, METRICS, BOARD) for entry in path.parent.iterdir())
        cure = (
            "go on with the settings of its config.yaml"
            if made
            else "remove it: it holds no checkpoint"
        )
        raise ArtifactError(
            f"{path.parent} holds a run with other settings: {key} was "
            f"{recorded.get(key, 'nothing')}, now it is {now[key]}",
            f"name another output folder, or {cure}",
        )


def _flat(data: object, name: str = "") -> dict[str, Any]:
    if not isinstance(data, Mapping):
        return {name: data}
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{name}.{key}" if name else str(key))
    return found
