"""How far the same arms are apart in two runs of ``bench quantization``, on another device say.

    python scripts/compare_runs.py FOLDER OTHER

Both folders are runs over the same data. Of every arm that both judged, the rows that both judged
are compared: winners that differ, and how far log-probabilities are apart. Below stands, for each
arm, how many winners differ from those of the first arm that the runs share, within either run:
whether both tell the same of what quantization does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgecritic import CriticError, InputError
from edgecritic_bench.markdown import table
from edgecritic_bench.quantization.arms import Arm, read_arms
from edgecritic_bench.quantization.journal import Judged
from edgecritic_bench.quantization.worker import ArmFiles

Journal = Mapping[str, Judged]


def journals(folder: Path) -> dict[str, tuple[Arm, Journal]]:
    """By language model and vision tower, since the same arm may have other names."""
    path = folder / "arms.json"
    if not path.exists():
        raise InputError(f"{folder} holds no run", "name the --out of bench quantization")
    arms = {arm.files: arm for arm in read_arms(path) if arm.role != "rerun"}
    return {files: (arm, ArmFiles.of(folder, arm).judged()) for files, arm in arms.items()}


def pairs_of(journal: Journal) -> dict[str, np.ndarray]:
    """By digest the log-probabilities of readable pairs, both orders reconciled."""
    return {
        digest: np.mean(np.array(one.log_probs, dtype=np.float64), axis=0)
        for digest, one in journal.items()
        if one.setting == "pairwise" and one.readable
    }


def differing(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Winners that differ, of how many pairs."""
    both = [digest for digest in one if digest in other]
    return sum(one[d].argmax() != other[d].argmax() for d in both), len(both)


def distances(one: Journal, other: Journal) -> np.ndarray:
    """Of outcomes that one of both gives more than 0.001, in nats."""
    found = []
    for digest in one.keys() & other.keys():
        if one[digest].readable and other[digest].readable:
            for ours, theirs in zip(one[digest].log_probs, other[digest].log_probs, strict=True):
                a, b = np.array(ours, dtype=np.float64), np.array(theirs, dtype=np.float64)
                found.append(np.abs(a - b)[np.maximum(a, b) > np.log(0.001)])
    return np.concatenate(found) if found else np.zeros(0)


def apart(left: dict[str, tuple[Arm, Journal]], right: dict[str, tuple[Arm, Journal]]) -> str:
    """A line for each arm that both runs have."""
    rows = []
    for files, (arm, ours) in left.items():
        if files not in right:
            continue
        theirs = right[files][1]
        flips, n = differing(pairs_of(ours), pairs_of(theirs))
        gaps = distances(ours, theirs)
        told = [f"{gaps.mean():.4f}", f"{np.quantile(gaps, 0.99):.3f}"] if gaps.size else ["-", "-"]
        rows.append([arm.name, f"{flips} of {n}", *told])
    return table(["arm", "other winner", "log-probs, mean nats", "p99"], rows)


def within(
    left: dict[str, tuple[Arm, Journal]], right: dict[str, tuple[Arm, Journal]]
) -> Iterator[list[str]]:
    """Of each arm, winners other than the first shared arm's, in either run, on the same pairs."""
    shared = [files for files in left if files in right]
    ours, theirs = ([pairs_of(run[files][1]) for files in shared] for run in (left, right))
    common = set.intersection(*(set(found) for found in (*ours, *theirs)))
    for place, files in enumerate(shared[1:], 1):
        told = [
            differing(*({d: run[k][d] for d in common} for k in (0, place)))
            for run in (ours, theirs)
        ]
        changed = [
            {d for d in common if run[0][d].argmax() != run[place][d].argmax()}
            for run in (ours, theirs)
        ]
        both = len(changed[0] & changed[1])
        yield [left[files][0].name, *(f"{flips} of {n}" for flips, n in told), str(both)]


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path)
    args = parser.parse_args()
    try:
        left, right = journals(args.folder), journals(args.other)
        shared = [left[files][0].name for files in left if files in right]
        if len(shared) < 2:
            raise InputError("the runs share fewer than two arms", "judge the same bundles in both")
    except CriticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    heads = [f"against {shared[0]}", str(args.folder), str(args.other), "the same pairs in both"]
    sys.stdout.write(f"{apart(left, right)}\n\n{table(heads, list(within(left, right)))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
