"""The embedded critic's recipes from nothing, with one command that can be stopped and started.

    python scripts/run_recipe.py critic WORK [--packs FOLDER] [--items 36000] [--set KEY=VALUE]
    python scripts/run_recipe.py rounds WORK [--packs FOLDER] [--items 500] [--set KEY=VALUE]

``critic``: SmolLM2-135M with the shipped vision tower learns to judge from the data engine's
judgements, through `edgecritic train sft` (recipes/critic.yaml); it is merged into a folder that
`edgecritic export` takes, and judges evaluation sets, T1 to T4 where FOLDER has assets-test.zip:
``edgecritic bench report WORK/records/T*.jsonl --out report.md`` makes a page of what it said.

``rounds``: the embedded model without its adapter, as a small policy, learns to answer for a short
while (recipes/policy.yaml), and then from the embedded critic's preferences (recipes/rounds.yaml);
the data engine's truth is the outside judge. Words and charts are not asked for: the policy cannot
read them, and the critic hardly.

Each step is an `edgecritic` command in WORK. What stands there is not made again, and trainings go
on where they were. On a machine that is lent by the minute, ``--minutes`` kills what runs when they
are over: give the same command again. ``--train-minutes`` measures the speed first and chooses as
many steps of SFT as they hold. Without ``--packs`` the asset packs are built, which needs pip, npm
and apt.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

RECIPES = Path(__file__).parent.parent / "recipes"
SETS = {"T0": 300, "T1": 300, "T2": 150, "T3": 100, "T4": 100}
"""Items of each evaluation set, as many as the first version was judged by."""
ANSWERED = (
    *("digit", "number", "sign_number", "price", "count", "colour", "shape", "describe"),
    *("position", "which_side", "size", "object", "category", "presence", "list", "garment"),
    *("card", "card_suit", "flag"),
)
"""Question types of the rounds."""
PROBE_STEPS = 60
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


def cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def engine(out: str, packs: Path, *words: str) -> Step:
    """Rows of the data engine."""
    pack = str(packs / "assets-train.zip")
    workers = str(max(1, cores() - 1))
    start = ("train", "data", "import", "engine", "--assets", pack, "--workers", workers)
    return Step((*start, "--out", out, *words), f"{out}/rows.jsonl")


def critic(args: argparse.Namespace) -> list[Step | Steps]:
    """A critic from a base that sees."""
    base = ("train", "hf", "embedded", "--without-adapter", "--out", "base")
    items = ("--items", str(args.items or 36_000), "--per-picture", "6", "--with-answers")
    merge = ("export", "merge", "base", "critic/adapter", "--out", "merged")
    workers = f"data.workers={max(2, cores() - 2)}"
    assignments = [workers, *args.assignments]
    return [
        Step(base, "base/processor_config.json"),
        engine("judged", args.packs, *items, "--validation", "0.02"),
        Steps("critic.yaml", assignments, args.train_minutes),
        training("sft", "critic.yaml", assignments),
        Step(merge, "merged/config.json"),
        *(step for split in SETS for step in judged(split, args.packs)),
    ]


def judged(split: str, packs: Path) -> list[Step]:
    """A split's evaluation set, and what the merged critic says of it; nothing without its pack."""
    from edgecritic.bundle import Bundle

    found = [packs / f"assets-{part}.zip" for part in ("train", "test")]
    if split != "T0" and not found[1].exists():
        return []
    assets = [str(path) for path in found if path.exists()]
    folder, records = f"sets/{split}", f"records/{split}.jsonl"
    drawn = ("--split", split, "--seed", "7", "--n", str(SETS[split]), "--out", folder)
    model = str(Bundle.embedded().file("language_model"))
    asked = ("--checkpoint", "merged", "--language-model", model, "--set", folder, "--out", records)
    return [
        Step(("train", "items", "--assets", *assets, *drawn), f"{folder}/items.jsonl"),
        Step(("train", "judge", *asked, "--batch", "32"), records),
    ]


def rounds(args: argparse.Namespace) -> list[Step | Steps]:
    """A policy that learns from the critic."""
    base = ("train", "hf", "embedded", "--without-adapter", "--out", "base")
    asked = ("--answers", "--kinds", *ANSWERED)
    learned = ("--items", "2400", "--validation", "0.05")
    questions = ("--items", str(args.items or 500), "--seed", "1", "--test", "0.48")
    return [
        Step(base, "base/processor_config.json"),
        engine("answers", args.packs, *asked, *learned),
        engine("questions", args.packs, *asked, *questions),
        training("sft", "policy.yaml", ()),
        training("rounds", "rounds.yaml", args.assignments),
    ]


def run(step: Step, work: Path, until: float | None) -> None:
    """Run a step in WORK unless it is done; its processes are killed when the time is over.

    Raises:
        SystemExit: it failed, or the time is over.
    """
    if step.leaves and (work / step.leaves).exists():
        return
    sys.stderr.write(f"edgecritic {' '.join(step.words)}\n")
    part, *words = step.words
    command = [sys.executable, "-c", COMMAND.format(part), *words]
    process = subprocess.Popen(command, cwd=work, start_new_session=True)
    try:
        code = process.wait(None if until is None else max(0.0, until - time.monotonic()))
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise SystemExit("the minutes are over: give the same command again") from None
    if code:
        raise SystemExit(code)


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps a training gets.

    Attributes:
        recipe: of the training.
        assignments: on top of it.
        minutes: that it shall take; None for what the recipe says.
    """

    recipe: str
    assignments: Sequence[str]
    minutes: float | None

    def chosen(self, work: Path, until: float | None) -> list[str]:
        """The assignments that say so, from the speed of some steps, which is measured once."""
        if self.minutes is None:
            return []
        path = work / "steps.json"
        if not path.exists():
            write_some(work / "judged", 12_000)
            short = (
                *("output=speed", "data.train=[judged/some.jsonl]", "evaluation.rows=1"),
                "data.answers=[judged/some-answers.jsonl]",
                *(f"optimizer.max_steps={PROBE_STEPS}", "checkpoints.log_every=10"),
                *("evaluation.every=100000", "checkpoints.every=100000"),
            )
            run(training("sft", self.recipe, [*self.assignments, *short]), work, until)
            path.write_text(json.dumps(int(60 * self.minutes / seconds_a_step(work / "speed"))))
        steps = json.loads(path.read_text())
        return [f"optimizer.max_steps={steps}", f"evaluation.every={max(1, steps // 5)}"]


def write_some(folder: Path, count: int) -> None:
    """The first rows, and the answers of their pictures: others would be short sequences alone."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as rows:
        some = list(islice(rows, count))
    groups = {json.loads(line)["group"] for line in some}
    with (folder / "answers.jsonl").open(encoding="utf-8") as answers:
        theirs = [line for line in answers if json.loads(line)["group"] in groups]
    (folder / "some.jsonl").write_text("".join(some), encoding="utf-8")
    (folder / "some-answers.jsonl").write_text("".join(theirs), encoding="utf-8")


def seconds_a_step(folder: Path) -> float:
    """Of a short run: its tokens a step by its tokens a second."""
    run_facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    data, optimizer = run_facts["data"], run_facts["config"]["optimizer"]
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    sequences = optimizer["batch"] * optimizer["accumulation"]
    return float(sequences * data["tokens"] / data["sequences"] / median(speeds[1:] or speeds))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=("critic", "rounds"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--packs", type=Path, help="folder with assets-train.zip")
    parser.add_argument("--items", type=int, help="twin items of the data engine, to judge or ask")
    parser.add_argument(
        "--set", action="append", default=[], dest="assignments", help="of the last training"
    )
    parser.add_argument("--minutes", type=float, help="end after them; the next call goes on")
    parser.add_argument(
        "--train-minutes", type=float, help="of the critic's SFT, all calls together"
    )
    args = parser.parse_args(argv)
    until = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    args.work.mkdir(parents=True, exist_ok=True)
    if args.packs is None:
        args.packs = args.work / "packs"
        build = ("train", "assets", "build", "--cache", "assets", "--out", "packs")
        run(Step(build, "packs/assets-train.zip"), args.work, until)
    args.packs = args.packs.resolve()
    chosen: list[str] = []
    for step in {"critic": critic, "rounds": rounds}[args.recipe](args):
        if isinstance(step, Steps):
            chosen = step.chosen(args.work, until)
            continue
        extra = chosen if step.words[:2] == ("train", "sft") else []
        words = (*step.words, *(word for text in extra for word in ("--set", text)))
        run(Step(words, step.leaves), args.work, until)
    sys.stderr.write("done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
