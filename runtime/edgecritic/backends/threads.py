"""How many threads a computation should take on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TOPOLOGY: Final = Path("/sys/devices/system/cpu")
_CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """Physical cores that this process may use, at least 1.

    Hyper-threads are counted once, since a second thread on a core slows matrix products down.
    The affinity mask and a container's CPU quota are respected: more threads than the quota
    grants wait for each other at every barrier.
    """
    cores = _physical_cores(_allowed_cpus())
    quota = _cgroup_quota(_CGROUP_QUOTA)
    return max(1, min(cores, quota) if quota else cores)


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int]) -> int:
    groups = set()
    for cpu in cpus:
        siblings = _TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        try:
            groups.add(siblings.read_text(encoding="ascii").strip())
        except OSError:  # not Linux, or hidden from the process: every logical CPU counts
            return len(cpus)
    return len(groups)


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    if quota == "max":
        return None
    return max(1, int(quota) // int(period))
