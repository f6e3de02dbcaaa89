"""A run: every arm judges every row, in processes of their own, as far as time allows."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from edgecritic import CriticError, InputError
from edgecritic_bench.quantization.arms import Arm, write_arms
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.quantization.processes import drive
from edgecritic_bench.quantization.progress import Progress
from edgecritic_bench.quantization.rows import Rows, Sample
from edgecritic_bench.quantization.worker import ArmFiles, Job


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run the arms.

    Attributes:
        jobs: processes at a time.
        seconds: of wall clock after which no further group is begun; None for no end.
        threads: of each arm; the cores shared out among the jobs when None.
        device: ``auto``, ``cpu`` or ``gpu``.
        feature_bytes: room on disk for features of pictures; what does not fit is computed anew.
        parts: processes that share each arm's pictures.
        only: patterns of names of arms that judge now, in this order; all when empty.
        attacked: patterns of names of arms that judge manipulated rows, beside the reference; all
            when empty.
        reason_seconds: of wall clock after which no further reason is asked for.
    """

    jobs: int = 1
    seconds: float | None = None
    threads: int | None = None
    device: str = "auto"
    feature_bytes: int = 8 * 2**30
    parts: int = 1
    only: tuple[str, ...] = ()
    attacked: tuple[str, ...] = ()
    reason_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """What is judged, by whom, and where the judgements are kept.

    Attributes:
        folder: of the run; what lies in it is gone on with.
        arms: all of them.
        sample: what to judge.
        rows: what `sample` gives.
        options: how.
    """

    folder: Path
    arms: tuple[Arm, ...]
    sample: Sample
    rows: Rows
    options: RunOptions

    def judge(self, tell: Callable[[Progress], object]) -> None:
        """Have every arm judge every row that it has not judged yet.

        Args:
            tell: is given how far all are, whenever something was judged.

        Raises:
            InputError: a pattern names no arm.
            CriticError: an arm failed, after the others have ended; or time was up before the end.
        """
        options = self.options
        judging = self._matching(options.only)
        write_arms(self.folder / "arms.json", self.arms)
        asked, left = self._asked(), self.left()
        progress = Progress.begin(
            {arm.name: left[arm.name] for arm in judging},
            {arm.name: len(asked[arm.name]) for arm in judging},
        )
        waiting = [arm for arm in judging if progress.left(arm.name)]
        until = None if options.seconds is None else time.time() + options.seconds
        failed = drive(
            [
                replace(self._job(arm), until=until, part=part, parts=options.parts)
                for arm in waiting
                for part in range(options.parts)
            ],
            options.jobs,
            lambda arm, judged: tell(progress.add(arm, judged)),
        )
        if failed:
            name, why = next(iter(failed.items()))
            raise CriticError(
                f"{len(failed)} of {len(self.arms)} arms failed; {name}: {why}",
                "mend it and run the same command again; what was judged is kept",
            )
        left = self.left()
        if mine := sum(left[arm.name] for arm in judging):
            names = ", ".join(
                f"{arm.name}: {left[arm.name]:,}" for arm in judging if left[arm.name]
            )
            raise CriticError(
                f"time is up with {mine:,} of {progress.total:,} judgements left ({names})",
                "run the same command again: it goes on where it stopped",
            )
        if not any(left.values()):
            shutil.rmtree(self.folder / "features", ignore_errors=True)

    def explain(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Have arms give their reasons, as far as time allows.

        Args:
            wanted: by name of an arm the digests of rows.

        Returns:
            By name of an arm why it failed; empty where none did.
        """
        until = time.time() + self.options.reason_seconds
        jobs = [
            replace(self._job(arm), reasons=tuple(wanted[arm.name]), until=until)
            for arm in self.arms
            if wanted.get(arm.name)
        ]
        return drive(jobs, self.options.jobs, lambda arm, judged: None)

    def narrowed(self, patterns: Sequence[str]) -> Run:
        """The run of some arms and the reference, for a report that waits for no other.

        Raises:
            InputError: a pattern names no arm.
        """
        reference = next(arm.name for arm in self.arms if arm.role == "reference")
        kept = {reference, *(arm.name for arm in self._matching(patterns))}
        attacked = [arm.name for arm in self.arms if arm.name in kept and self.attacks(arm)]
        return replace(
            self,
            arms=tuple(
                replace(arm, base=arm.base if arm.base in kept else "")
                for arm in self.arms
                if arm.name in kept
            ),
            options=replace(self.options, attacked=tuple(attacked)),
        )

    def journals(self) -> dict[str, dict[str, Judged]]:
        """What each arm has judged, by name and digest."""
        return {arm.name: ArmFiles.of(self.folder, arm).judged() for arm in self.arms}

    def left(self) -> dict[str, int]:
        """Rows that each arm has not judged yet; rows of the same content are judged once."""
        asked = self._asked()
        return {name: len(asked[name] - done.keys()) for name, done in self.journals().items()}

    def attacks(self, arm: Arm) -> bool:
        """Whether an arm judges manipulated rows."""
        return arm.role == "reference" or arm in self._matching(self.options.attacked)

    def _asked(self) -> dict[str, set[str]]:
        """By arm the digests of the rows that it has to judge."""
        plain, whole = (
            {row_digest(row) for row in self.rows.asked(attacked=attacked)}
            for attacked in (False, True)
        )
        return {arm.name: whole if self.attacks(arm) else plain for arm in self.arms}

    def _matching(self, patterns: Sequence[str]) -> list[Arm]:
        """Arms that the patterns name, in the patterns' order; all without any."""
        for pattern in patterns:
            if not any(fnmatchcase(arm.name, pattern) for arm in self.arms):
                names = ", ".join(arm.name for arm in self.arms)
                raise InputError(f"{pattern!r} names no arm", f"there are {names}")
        named = (arm for one in patterns for arm in self.arms if fnmatchcase(arm.name, one))
        return list(dict.fromkeys(named)) if patterns else list(self.arms)

    def _job(self, arm: Arm) -> Job:
        options = self.options
        towers = Counter(other.tower_sha256 for other in self.arms if other.role != "rerun")
        shared = towers[arm.tower_sha256] > 1
        threads = options.threads or max(1, _cores() // options.jobs)
        if arm.role == "rerun":
            # How many threads sum up is part of what may differ between two runs.
            threads = threads - 1 or 2
        return Job(
            folder=str(self.folder.absolute()),
            arm=arm.name,
            sample=self.sample,
            threads=threads,
            device=options.device,
            feature_bytes=options.feature_bytes if shared or options.parts > 1 else 0,
            attacked=self.attacks(arm),
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
