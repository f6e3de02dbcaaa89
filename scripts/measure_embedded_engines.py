"""What a judgement of the embedded critic costs in each engine, and how far their verdicts differ.

    python scripts/measure_embedded_engines.py llamacpp onnx --rounds 3

Each round starts a process for each engine, in turn. Prints medians and ranges of processor time
(all threads together), which is steadier than the clock on a machine that does other things, too,
and the largest difference of log-probabilities from the first engine's, over outcomes above 0.001.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

from edgecritic import Critic
from edgecritic.demo import demo_cases

_LIKELY = 0.001
Probabilities = dict[str, float]


def measured(engine: str, threads: int) -> dict[str, Any]:
    """Costs in seconds and verdicts of one engine in this process."""
    costs: dict[str, list[list[float]]] = {}
    verdicts: dict[str, Probabilities] = {}

    def timed(task: str, work: Callable[[], Any]) -> Any:
        cpu, clock = time.process_time(), time.perf_counter()
        found = work()
        spent = [time.process_time() - cpu, time.perf_counter() - clock]
        costs.setdefault(task, []).append(spent)
        return found

    critic = timed("loading", lambda: Critic.load(backend=engine, device="cpu", threads=threads))
    with critic:
        for number, case in enumerate(demo_cases()):
            ask = (case.image, case.question)
            task = "one verdict, new picture" if number else "the first verdict"
            first, second = case.responses
            verdict = timed(task, lambda a=ask, r=first: critic.score(*a, r, rationale=False))
            again = "another answer, same picture"
            timed(again, lambda a=ask, r=second: critic.score(*a, r, rationale=False))
            both = "two answers, both orders"
            pair = timed(
                both, lambda a=ask, r=case.responses: critic.compare(*a, *r, rationale=False)
            )
            for kind, found in (("score", verdict), ("pair", pair)):
                verdicts[f"{case.title}: {kind}"] = {
                    str(outcome): p for outcome, p in found.probabilities.items()
                }
            timed("a verdict with its reason", lambda a=ask, r=first: critic.score(*a, r))
    return {"costs": costs, "verdicts": verdicts}


def difference(reference: Mapping[str, Probabilities], other: Mapping[str, Probabilities]) -> float:
    """Largest difference of log-probabilities, in nats."""
    return max(
        abs(math.log(p) - math.log(max(other[verdict][outcome], 1e-30)))
        for verdict, outcomes in reference.items()
        for outcome, p in outcomes.items()
        if p > _LIKELY
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="+", metavar="ENGINE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.stdout.write(json.dumps(measured(args.engines[0], args.threads)))
        return
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for engine in args.engines:
            command = [sys.executable, __file__, engine, "--one", "--threads", str(args.threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.setdefault(engine, []).append(json.loads(done.stdout))
    sys.stdout.write(f"| task | {' | '.join(args.engines)} |\n|---|{'---|' * len(args.engines)}\n")
    for task in runs[args.engines[0]][0]["costs"]:
        cells = []
        for engine in args.engines:
            spent = [cpu for run in runs[engine] for cpu, _ in run["costs"][task]]
            cells.append(f"{median(spent):.2f} s ({min(spent):.2f}-{max(spent):.2f})")
        sys.stdout.write(f"| {task} | {' | '.join(cells)} |\n")
    reference = runs[args.engines[0]][0]["verdicts"]
    for engine in args.engines[1:]:
        nats = difference(reference, runs[engine][0]["verdicts"])
        sys.stdout.write(f"\n{engine} differs from {args.engines[0]} by at most {nats:.3f} nat.\n")


if __name__ == "__main__":
    main()
