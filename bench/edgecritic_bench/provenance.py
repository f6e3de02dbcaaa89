"""Where numbers come from: machine, versions, date, command."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PureWindowsPath
from typing import Any, Self

PACKAGES = ("edgecritic", "llama-cpp-python", "numpy", "pillow")
_FOLDERS = re.compile(r"(^|[=:])((?:[A-Za-z]:)?[/\\\\].*)")
"""An absolute path in a word: the whole of it, or behind ``NAME=`` or ``BENCHMARK:``."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """One run.

    Attributes:
        machine: processor, cores that the process may use, memory.
        system: operating system and Python.
        versions: package to version.
        date: UTC, ISO 8601, to the minute.
        command: as it was typed, but for the folders that absolute paths begin with.
    """

    machine: str
    system: str
    versions: tuple[tuple[str, str], ...]
    date: str
    command: str

    @classmethod
    def here(cls, argv: Sequence[str], packages: Sequence[str] = PACKAGES) -> Self:
        """This process on this machine.

        Args:
            argv: arguments behind ``edgecritic bench``.
            packages: whose versions matter; those that are not installed are left out.
        """
        found = ((package, _version(package)) for package in packages)
        return cls(
            machine=f"{_processor()}, {_cores()} cores, {_memory_gib():.0f} GiB",
            system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            versions=tuple((package, number) for package, number in found if number),
            date=datetime.now(UTC).isoformat(timespec="minutes"),
            command=shlex.join(["edgecritic", "bench", *(_without_folder(word) for word in argv)]),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        versions = tuple((str(name), str(number)) for name, number in data["versions"])
        return cls(data["machine"], data["system"], versions, data["date"], data["command"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @property
    def versions_text(self) -> str:
        """Packages and versions in one line."""
        return ", ".join(f"{package} {number}" for package, number in self.versions)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """The model's name where the system tells it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] not in ("", "unknown") else platform.machine()


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    if sys.platform == "win32":
        return float("nan")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _without_folder(word: str) -> str:
    """Where things lay on this machine helps no reader; what they are called does."""
    return _FOLDERS.sub(lambda found: found[1] + PureWindowsPath(found[2]).name, word)
