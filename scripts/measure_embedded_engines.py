"""What a judgement of the embedded critic costs in each engine, and how far their verdicts differ.

    python scripts/measure_embedded_engines.py llamacpp onnx --rounds 3
    python scripts/measure_embedded_engines.py llamacpp onnx:fp32 onnx:int8 onnx:int4

The second line gives the ONNX form's decoder other types of weights. Each round starts a process
for each engine, in turn. Prints medians and ranges of processor time (all threads together), which
is steadier than the clock on a machine that does other things, too, and the largest difference of
log-probabilities from the first engine's, over outcomes above 0.001.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

from edgecritic import Bundle, Critic
from edgecritic.bundle import describe_file, write_bundle
from edgecritic.demo import demo_cases
from edgecritic.derived.gguf_weights import GgufLanguageModel
from edgecritic.derived.onnx_form import onnx_form
from edgecritic.graphs.decoder import write_decoder
from edgecritic.graphs.precision import DecoderPrecision, Precision

_LIKELY = 0.001
Probabilities = dict[str, float]


def made(folder: Path, precision: Precision) -> Bundle:
    """The embedded critic's ONNX form with another decoder."""
    original = Bundle.embedded()
    form = onnx_form(original)
    weights = GgufLanguageModel(original.file("language_model"), original.files("adapter"))
    bits = DecoderPrecision.uniform(precision, weights.text.n_layers)
    path = folder / "decoder.onnx"
    written = write_decoder(weights, path, bits, external=True, branching=True)
    listed = [describe_file("decoder", written[0])]
    listed += [describe_file("external_data", path) for path in written[1:]]
    old = next(file.path for file in form.manifest.files if file.role == "decoder")
    kept = [file for file in form.manifest.files if file.path not in (old, f"{old}_data")]
    sources = {file.path: form.folder / file.path for file in kept}
    sources |= {path.name: path for path in written}
    return write_bundle(folder, replace(form.manifest, files=(*kept, *listed)), sources)


def measured(engine: str, threads: int, bundle: Path | None) -> dict[str, Any]:
    """Costs in seconds and verdicts of one engine in this process."""
    costs: dict[str, list[list[float]]] = {}
    verdicts: dict[str, Probabilities] = {}

    def timed(task: str, work: Callable[[], Any]) -> Any:
        cpu, clock = time.process_time(), time.perf_counter()
        found = work()
        spent = [time.process_time() - cpu, time.perf_counter() - clock]
        costs.setdefault(task, []).append(spent)
        return found

    critic = timed(
        "loading", lambda: Critic.load(bundle, backend=engine, device="cpu", threads=threads)
    )
    with critic:
        for number, case in enumerate(demo_cases()):
            ask = (case.image, case.question)
            task = "one verdict, new picture" if number else "the first verdict"
            first, second = case.responses
            verdict = timed(task, partial(critic.score, *ask, first, rationale=False))
            again = "another answer, same picture"
            timed(again, partial(critic.score, *ask, second, rationale=False))
            both = "two answers, both orders"
            pair = timed(both, partial(critic.compare, *ask, *case.responses, rationale=False))
            for kind, found in (("score", verdict), ("pair", pair)):
                verdicts[f"{case.title}: {kind}"] = {
                    str(outcome): p for outcome, p in found.probabilities.items()
                }
            timed("a verdict with its reason", partial(critic.score, *ask, first))
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
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        bundle = Path(args.one[0]) if args.one else None
        sys.stdout.write(json.dumps(measured(args.engines[0], args.threads, bundle)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args.engines, run_all(args, Path(folder)))


def run_all(args: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What `measured` gave in processes of their own, for each engine and round."""
    bundles: dict[str, list[str]] = {}
    for engine in args.engines:
        _, _, precision = engine.partition(":")
        if precision:
            (folder / precision).mkdir()
            bundles[engine] = [str(made(folder / precision, precision).folder)]
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for engine in args.engines:
            command = [sys.executable, __file__, engine.partition(":")[0]]
            command += ["--threads", str(args.threads), "--one", *bundles.get(engine, [])]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.setdefault(engine, []).append(json.loads(done.stdout))
    return runs


def report(engines: Sequence[str], runs: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print a table and the differences."""
    sys.stdout.write(f"| task | {' | '.join(engines)} |\n|---|{'---|' * len(engines)}\n")
    for task in runs[engines[0]][0]["costs"]:
        cells = []
        for engine in engines:
            spent = [cpu for run in runs[engine] for cpu, _ in run["costs"][task]]
            cells.append(f"{median(spent):.2f} s ({min(spent):.2f}-{max(spent):.2f})")
        sys.stdout.write(f"| {task} | {' | '.join(cells)} |\n")
    reference = runs[engines[0]][0]["verdicts"]
    for engine in engines[1:]:
        nats = difference(reference, runs[engine][0]["verdicts"])
        sys.stdout.write(f"\n{engine} differs from {engines[0]} by at most {nats:.3f} nat.\n")


if __name__ == "__main__":
    main()
