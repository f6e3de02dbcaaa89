"""What an export will write and hold, told before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecritic_export.checkpoints.provenance import check_disk
from edgecritic_export.progress import Progress


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that will be written.

    Attributes:
        path: relative to the export's folder.
        size: bytes, estimated.
        seconds: to write it, estimated for this machine.
        kept: whether it stays; intermediate files do not.
    """

    path: str
    size: int
    seconds: float
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """Files whose intermediate ones are removed together.

    Attributes:
        needs: what the memory is for.
        peak_ram: bytes held at once at most, estimated; memory maps not counted.
        files: in the order of writing; none where files are only read.
    """

    needs: str
    peak_ram: int
    files: tuple[PlannedFile, ...] = ()

    @property
    def kept(self) -> int:
        """Bytes that stay."""
        return sum(file.size for file in self.files if file.kept)

    @property
    def disk(self) -> int:
        """Bytes at the fullest moment, which is the last one before the clean-up."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of an export, one behind the other; at least one."""

    stages: tuple[Stage, ...]

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        return tuple(file for stage in self.stages for file in stage.files)

    @property
    def kept(self) -> int:
        """Bytes that stay."""
        return sum(stage.kept for stage in self.stages)

    @property
    def disk(self) -> int:
        """Bytes at the fullest moment."""
        before, most = 0, 0
        for stage in self.stages:
            most = max(most, before + stage.disk)
            before += stage.kept
        return most

    @property
    def hungriest(self) -> Stage:
        """The stage that needs most memory."""
        return max(self.stages, key=lambda stage: stage.peak_ram)

    @property
    def seconds(self) -> float:
        """Of writing; what verification takes depends on its rows, and is not estimated."""
        return sum(file.seconds for file in self.files)

    def describe(self) -> str:
        """For people: one line a file, and the sums."""
        lines = [
            f"{file.size / 1e9:9.2f} GB  {file.path}" + ("" if file.kept else "  (intermediate)")
            for file in self.files
        ]
        most = self.hungriest
        lines.append(f"{self.kept / 1e9:9.2f} GB  to stay, {self.disk / 1e9:.2f} GB while it works")
        lines.append(f"{most.peak_ram / 1e9:9.2f} GB  of memory at most, for {most.needs}")
        lines.append(f"{max(1, round(self.seconds / 60)):6d} min  or so on this machine")
        return "\n".join(lines)


def announce(plan: Plan, out: Path, progress: Progress) -> None:
    """Tell a plan, and refuse one that the disk has no room for.

    Args:
        plan: of an export that is not complete.
        out: its folder; files that are there already need no further room.
        progress: is told.

    Raises:
        ArtifactError: the disk is too small.
    """
    progress(plan.describe())
    paths = (out / file.path for file in plan.files)
    there = sum(path.stat().st_size for path in paths if path.exists())
    check_disk(out, max(0, plan.disk - there))
