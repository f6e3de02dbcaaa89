"""The embedded critic's recipes from nothing, with one command that can be stopped and started.

    python scripts/run_recipe.py critic WORK [--packs FOLDER] [--items 24000] [--set KEY=VALUE]
    python scripts/run_recipe.py rounds WORK [--packs FOLDER] [--items 2000] [--set KEY=VALUE]

``critic``: SmolLM2-135M with the shipped vision tower learns to judge from the data engine's
judgements, through `edgecritic train sft` (recipes/critic.yaml); afterwards it is merged into a
folder that `edgecritic export` takes.

``rounds``: the embedded model as a small policy learns to answer (recipes/policy.yaml), and then
from the embedded critic's preferences (recipes/rounds.yaml); the data engine's truth is the
outside judge.

Each step is an `edgecritic` command in WORK. What stands there is not made again, and trainings go
on where they were. Without ``--packs`` the asset packs are built, which needs pip, npm and apt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).parent.parent / "recipes"
COMMAND = "import sys; from edgecritic_{}.cli import main; sys.exit(main(sys.argv[1:]))"
"""Of a part of edgecritic, which need not be installed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        words: behind ``edgecritic``.
        leaves: what is there once it is done, below WORK; a training says itself when it is.
    """

    words: tuple[str, ...]
    leaves: str = ""


def training(command: str, recipe: str, assignments: Sequence[str]) -> Step:
    """A training by a recipe, with assignments on top."""
    pairs = [word for text in assignments for word in ("--set", text)]
    return Step(("train", command, str(RECIPES / recipe), *pairs))


def engine(out: str, packs: Path, *words: str) -> Step:
    """Rows of the data engine."""
    pack = str(packs / "assets-train.zip")
    workers = str(max(1, (os.cpu_count() or 1) - 1))
    start = ("train", "data", "import", "engine", "--assets", pack, "--workers", workers)
    return Step((*start, "--out", out, *words), f"{out}/rows.jsonl")


def critic(args: argparse.Namespace) -> list[Step]:
    """A critic from a base that sees."""
    base = ("train", "hf", "embedded", "--without-adapter", "--out", "base")
    items = ("--items", str(args.items or 24_000), "--per-picture", "6")
    merge = ("export", "merge", "base", "critic/adapter", "--out", "merged")
    return [
        Step(base, "base/processor_config.json"),
        engine("judged", args.packs, *items, "--validation", "0.02"),
        training("sft", "critic.yaml", args.assignments),
        Step(merge, "merged/config.json"),
    ]


def rounds(args: argparse.Namespace) -> list[Step]:
    """A policy that learns from the critic."""
    items = str(args.items or 2000)
    return [
        Step(("train", "hf", "embedded", "--out", "base"), "base/processor_config.json"),
        engine("answers", args.packs, "--answers", "--items", items, "--validation", "0.05"),
        engine(
            "questions", args.packs, "--answers", "--items", items, "--seed", "1", "--test", "0.3"
        ),
        training("sft", "policy.yaml", ()),
        training("rounds", "rounds.yaml", args.assignments),
    ]


def run(step: Step, work: Path) -> None:
    """Run a step in WORK unless it is done.

    Raises:
        SystemExit: it failed.
    """
    if step.leaves and (work / step.leaves).exists():
        return
    sys.stderr.write(f"edgecritic {' '.join(step.words)}\n")
    part, *words = step.words
    command = [sys.executable, "-c", COMMAND.format(part), *words]
    done = subprocess.run(command, cwd=work, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=("critic", "rounds"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--packs", type=Path, help="folder with assets-train.zip")
    parser.add_argument("--items", type=int, help="twin items of the data engine")
    parser.add_argument(
        "--set", action="append", default=[], dest="assignments", help="of the last training"
    )
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.packs is None:
        args.packs = args.work / "packs"
        words = ("train", "assets", "build", "--cache", "assets", "--out", "packs")
        run(Step(words, "packs/assets-train.zip"), args.work)
    args.packs = args.packs.resolve()
    for step in {"critic": critic, "rounds": rounds}[args.recipe](args):
        run(step, args.work)
    sys.stderr.write(f"done; free on the disk: {shutil.disk_usage(args.work).free / 1e9:.0f} GB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
