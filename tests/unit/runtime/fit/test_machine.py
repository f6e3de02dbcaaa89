"""What a machine, or a group that limits this process, has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic.fit import machine
from edgecritic.fit.machine import Machine

GIB = 1 << 30


def limited(folder: Path, limit: str, used: int, cached: int, version: int = 2) -> None:
    """Write what the kernel tells of a group."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    half = cached // 2
    stat = f"anon 5\n{names[2]}active_file {half}\n{names[2]}inactive_file {cached - half}\n"
    (folder / "memory.stat").write_text(stat)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where groups are looked for; memory without end beside them."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable: {1 << 40} kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", meminfo)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "self")
    return tmp_path


def left() -> int | None:
    return Machine.here(ask_gpu=False).ram


def test_a_container_may_take_what_its_limit_leaves(groups: Path) -> None:
    (groups / "self").write_text("0::/\n")
    limited(groups / "cgroup", str(6 * GIB), 2 * GIB, 0)
    assert left() == 4 * GIB


def test_files_that_were_read_give_way(groups: Path) -> None:
    (groups / "self").write_text("0::/\n")
    limited(groups / "cgroup", str(6 * GIB), 5 * GIB, 4 * GIB)
    assert left() == 5 * GIB


def test_the_tightest_group_counts(groups: Path) -> None:
    (groups / "self").write_text("1:name=systemd:/x\n0::/user.slice/app.scope\n")
    limited(groups / "cgroup" / "user.slice", str(3 * GIB), GIB, 0)
    limited(groups / "cgroup" / "user.slice" / "app.scope", "max", GIB, 0)
    assert left() == 2 * GIB


def test_older_groups_are_understood(groups: Path) -> None:
    (groups / "self").write_text("4:cpu,memory:/app\n0::/\n")
    limited(groups / "cgroup" / "memory" / "app", str(GIB), GIB // 2, GIB // 4, version=1)
    assert left() == GIB - GIB // 4


def test_without_a_limit_the_machine_counts(groups: Path) -> None:
    assert left() == 1 << 50
    (groups / "self").write_text("0::/\n")
    limited(groups / "cgroup", "max", GIB, 0)
    assert left() == 1 << 50
