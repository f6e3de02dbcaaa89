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


def machine_load() -> float:
    """Share of the cores that were busy in the last minute; above 1 programs waited for some.

    0 where the system does not tell.
    """
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows has none
        return 0.0


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
    """What a container may still take."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None


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
