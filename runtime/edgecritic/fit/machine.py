"""What this machine has: main memory, a GPU's memory, free space on a disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = Path("/proc/self/cgroup")
_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in bytes; None where the system does not tell.

    Attributes:
        ram: that a process could take now without swapping.
        ram_total: that there is.
        vram: free on the first NVIDIA GPU; None without one.
    """

    ram: int | None
    ram_total: int | None
    vram: int | None

    @classmethod
    def here(cls, *, ask_gpu: bool = True) -> Machine:
        """This machine, now; without `ask_gpu` as if it had no GPU, which is quicker."""
        return cls(_available_ram(), _physical_ram(), _free_vram() if ask_gpu else None)


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` lies or will lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _available_ram() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        available = int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return _physical_ram()
    left = _cgroup_left()
    return available if left is None else min(available, left)


def _cgroup_left() -> int | None:
    """What a container, or whatever else limits this process, may still take."""
    try:
        lines = _GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, limit, used = _CGROUP, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):  # version 1
            root, limit, used = (
                _CGROUP / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        own = root / path.lstrip("/")
        # A limit holds for all groups below; in a container the outer ones are not seen.
        for folder in (own, *own.parents):
            found.append(_left_in(folder, limit, used))
            if folder == root:
                break
    return min((left for left in found if left is not None), default=None)


def _left_in(folder: Path, limit: str, used: str) -> int | None:
    try:
        most = int((folder / limit).read_text(encoding="ascii"))  # "max" is none
        taken = int((folder / used).read_text(encoding="ascii"))
        rows = (folder / "memory.stat").read_text(encoding="ascii").split("\n")
    except (OSError, ValueError):
        return None
    # Files that were read, such as a model that was hashed, give way to whoever needs the memory.
    counts = dict(row.split() for row in rows if row)
    prefix = "total_" if "total_active_file" in counts else ""
    cached = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(0, most - max(0, taken - cached))


def _physical_ram() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _free_vram() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        return int(done.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
