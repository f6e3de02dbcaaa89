"""The sums of a plan, and what it is held against."""

import pytest

from edgecritic import ArtifactError
from edgecritic_export.bundles.plan import Plan, PlannedFile, Stage, announce
from told import Told

GB = 10**9
PLAN = Plan(
    (
        Stage("tensors", GB, (PlannedFile("a", 8 * GB, 60, kept=False), PlannedFile("b", GB, 60))),
        Stage("tracing", 2 * GB, (PlannedFile("c", 5 * GB, 60),)),
    )
)


def test_intermediate_files_of_a_stage_are_gone_in_the_next():
    assert (PLAN.kept, PLAN.disk, PLAN.seconds) == (6 * GB, 9 * GB, 180)
    later = Plan((*PLAN.stages, Stage("more", 0, (PlannedFile("d", 4 * GB, 0),))))
    assert later.disk == 10 * GB


def test_a_plan_says_its_files_and_sums():
    assert PLAN.describe().splitlines() == [
        "     8.00 GB  a  (intermediate)",
        "     1.00 GB  b",
        "     5.00 GB  c",
        "     6.00 GB  to stay, 9.00 GB while it works",
        "     2.00 GB  of memory at most, for tracing",
        "     3 min  or so on this machine",
    ]


def test_what_is_there_needs_no_further_room(tmp_path, monkeypatch):
    class Disk:
        free = 10 * 10**6 + (64 << 20)

    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk)
    plan = Plan((Stage("tensors", 0, (PlannedFile("a", 11 * 10**6, 0),)),))
    with pytest.raises(ArtifactError, match=r"needs 0\.01 GB"):
        announce(plan, tmp_path, Told())
    (tmp_path / "a").write_bytes(bytes(2 * 10**6))
    told = Told()
    announce(plan, tmp_path, told)
    assert told.lines == [plan.describe()]
