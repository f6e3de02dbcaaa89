"""What each export of a critic costs: size, distance from its checkpoint, time for a verdict.

    python scripts/measure_ladder.py FOLDER

FOLDER is what ``edgecritic export all`` wrote, verified. Distances are those of the bundles' own
verification. Times are CPU seconds of one pointwise verdict without a reason on a new picture, all
threads together; the bundles take turns, each round in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

from edgecritic import Bundle, Critic, InputError
from edgecritic.errors import CriticError
from edgecritic.manifest import Manifest
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.speed.tasks import QUESTION, RESPONSES, default_picture, new_picture
from edgecritic_export.verify.checks import Check

PACKAGES = ("edgecritic", "llama-cpp-python", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to measure.

    Attributes:
        rounds: processes for each bundle.
        repeats: verdicts in each of them, behind one that does not count.
        threads: of computation.
    """

    rounds: int
    repeats: int
    threads: int


def seconds(folder: Path, plan: Plan, offset: int) -> list[float]:
    """CPU seconds of each verdict, in a process that judges nothing else."""
    base = default_picture()
    found = []
    with Critic.load(folder, device="cpu", threads=plan.threads) as critic:
        for number in range(plan.repeats + 1):
            picture = new_picture(base, offset + number)
            begun = time.process_time()
            critic.score(picture, QUESTION, RESPONSES[0], rationale=False)
            found.append(time.process_time() - begun)
    return found[1:]


def measure(folders: Sequence[Path], plan: Plan) -> Mapping[Path, list[float]]:
    """CPU seconds of every bundle's verdicts."""
    found: dict[Path, list[float]] = {folder: [] for folder in folders}
    for turn in range(plan.rounds):
        for folder in folders if turn % 2 == 0 else reversed(folders):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                samples = pool.submit(seconds, folder, plan, turn * (plan.repeats + 1)).result()
            found[folder] += samples
            sys.stderr.write(f"{folder.name}: {statistics.median(samples):.2f} s\n")
    return found


def megabytes(manifest: Manifest) -> float:
    """Of everything that the bundle loads."""
    return sum(file.size for file in manifest.files) / 1e6


def checks_of(manifest: Manifest) -> list[Check]:
    """What its verification found.

    Raises:
        InputError: it was never verified.
    """
    match manifest.verification:
        case {"checks": list(checks)}:
            return [Check(**check) for check in checks]
    raise InputError(f"{manifest.name} was not verified", "run edgecritic export verify")


def _shown(value: float) -> str:
    """Distances from one are as telling as distances from zero."""
    return f"1 - {1 - value:.1e}" if 0.9999 <= value < 1 else f"{value:.3g}"


def rows(found: Mapping[Path, list[float]]) -> Iterator[str]:
    """The table's lines, in Markdown."""
    manifests = {folder: Bundle.read(folder).manifest for folder in found}
    first = checks_of(next(iter(manifests.values())))
    names = [check.name for check in first if check.value is not None]
    yield "| bundle | MB | CPU s a verdict | " + " | ".join(names) + " | verified |"
    yield "| :--- | ---: | ---: |" + " ---: |" * (len(names) + 1)
    for folder, samples in found.items():
        manifest = manifests[folder]
        checks = checks_of(manifest)
        values = " | ".join(_shown(c.value) for c in checks if c.value is not None)
        low, median, high = statistics.quantiles(samples, n=4)
        yield (
            f"| {manifest.formats[0]} {folder.name} | {megabytes(manifest):,.0f} "
            f"| {median:.2f} ({low:.2f} to {high:.2f}) | {values} "
            f"| {'yes' if all(c.passed for c in checks) else '**no**'} |"
        )


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    folders = sorted(path.parent for path in args.folder.rglob("critic.json"))
    plan = Plan(args.rounds, args.repeats, args.threads)
    try:
        for line in rows(measure(folders, plan)):
            sys.stdout.write(f"{line}\n")
    except CriticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    made = Provenance.here(sys.argv[1:], PACKAGES)
    sys.stdout.write(f"\n{made.machine}; {made.system}; {made.versions_text}; {made.date}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
