"""Two processes on two GPUs against one: the settings that ship for `accelerate launch`.

    python scripts/compare_processes.py WORK [--seconds 160] [--only fsdp2] [--at-once 4]

Random models of both families' architectures, four narrow layers each, learn a few steps by LoRA,
QLoRA and DPO: alone, replicated, sharded by FSDP2 and by ZeRO-3 (which needs deepspeed). A step of
two processes holds the rows of one with twice the batch, so their losses are equal; in single
precision to about 1e-4. Every arm is a line of ``WORK/results.jsonl`` with its losses, or with the
last words of its failure; a line that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "tests")]

import tiny_checkpoints  # noqa: E402 - by that path
from edgecritic_train.critic_data.rows import write_rows  # noqa: E402 - by that path
from edgecritic_train.tuning.launch_config import launch_configs  # noqa: E402 - by that path
from edgecritic_train.tuning.logs import read_metrics  # noqa: E402 - by that path
from tiny_tuning import make_rows, write_config  # noqa: E402 - by that path

STEPS = 4
FIRST_PORT = 29600
PRECISE = ("base.dtype=float32",)
ROUGH = ("base.dtype=bfloat16",)
QLORA = (*ROUGH, "base.quantization=nf4")
LLAVA, QWEN = "llava_onevision", "qwen2_5_vl"


@dataclass(frozen=True, slots=True)
class Arm:
    """One training.

    Attributes:
        name: what is trained, which arms share that are compared.
        how: ``one``, ``replicated`` or the name of the settings.
        family: of the base.
        stage: ``sft`` or ``dpo``.
        settings: on top of the common ones.
    """

    name: str
    how: str
    family: str
    stage: str
    settings: tuple[str, ...]


def arms() -> list[Arm]:
    """All of them; what is alone comes first of its kind."""
    sets = {
        "lora": (LLAVA, "sft", PRECISE, ("replicated", "fsdp2", "zero3")),
        "shared prefix": (LLAVA, "sft", (*PRECISE, "data.share=true"), ("fsdp2",)),
        "dpo": (LLAVA, "dpo", PRECISE, ("fsdp2",)),
        "qwen lora": (QWEN, "sft", PRECISE, ("fsdp2-qwen2_5_vl",)),
        "qlora": (LLAVA, "sft", QLORA, ("replicated", "fsdp2")),
        "lora bf16": (LLAVA, "sft", ROUGH, ("fsdp2", "zero3")),
    }
    return [
        Arm(name, how, family, stage, settings)
        for name, (family, stage, settings, hows) in sets.items()
        for how in ("one", *hows)
    ]


def write_inputs(work: Path) -> None:
    """Bases and rows."""
    tiny_checkpoints.TEXT_SHAPE |= {"intermediate_size": 128, "num_hidden_layers": 4}
    writers = {
        LLAVA: tiny_checkpoints.write_llava_onevision,
        QWEN: tiny_checkpoints.write_qwen2_5_vl,
    }
    for family, write in writers.items():
        if not (work / family / "preprocessor_config.json").exists():
            write(work / family)
    write_rows(work / "rows.jsonl", make_rows(work))


def command_of(arm: Arm, work: Path, port: int) -> list[str]:
    """What trains an arm."""
    folder = work / f"{arm.name}-{arm.how}".replace(" ", "-")
    path = write_config(folder.with_suffix(".yaml"), work / arm.family, work / "rows.jsonl", folder)
    alone = arm.how == "one"
    # A pair stands alone in its batch, so one process accumulates twice as many.
    batch, accumulation = (1, 4 if alone else 2) if arm.stage == "dpo" else (2 if alone else 1, 2)
    settings = (
        *arm.settings,
        *(f"optimizer.batch={batch}", f"optimizer.accumulation={accumulation}"),
        *(
            f"optimizer.max_steps={STEPS}",
            f"evaluation.every={STEPS}",
            f"checkpoints.every={STEPS}",
        ),
        "optimizer.gradient_checkpointing=true",
    )
    words = [str(path), *(word for text in settings for word in ("--set", text))]
    module = ["-m", f"edgecritic_train.tuning.{arm.stage}"]
    if alone:
        return [sys.executable, *module, *words]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    launch += ["--main_process_port", str(port)]
    if arm.how == "replicated":
        launch += ["--multi_gpu", "--num_machines", "1", "--dynamo_backend", "no"]
    else:
        launch += ["--config_file", launch_configs()[arm.how]]
    # What ships computes in bfloat16; single precision compares more sharply.
    launch += ["--mixed_precision", "no" if PRECISE[0] in arm.settings else "bf16"]
    return [*launch, *module, *words]


def run(arm: Arm, work: Path, number: int, until: float) -> dict[str, object] | None:
    """Train an arm; None where no time is left."""
    if (left := until - time.monotonic()) < 10:
        return None
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if arm.how == "one":
        environment["CUDA_VISIBLE_DEVICES"] = str(number % 2)
    command = command_of(arm, work, FIRST_PORT + number)
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=left, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    folder = work / f"{arm.name}-{arm.how}".replace(" ", "-")
    lines = read_metrics(folder)
    return {
        **asdict(arm),
        "code": done.returncode,
        "seconds": round(time.monotonic() - begun, 1),
        "losses": [line["loss"] for line in lines if line["kind"] == "train"],
        "said": done.stderr.splitlines()[-60:] if done.returncode else [],
    }


def read_results(log: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """By name and how."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return {(found["name"], found["how"]): found for found in map(json.loads, lines)}


def table(results: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Markdown: the greatest relative difference of a loss from one process."""
    lines = ["| what | how | ended with | greatest difference of a loss |", "|---|---|---|---|"]
    for (name, how), found in results.items():
        alone = results.get((name, "one"), {}).get("losses") or []
        losses = found["losses"]
        worst = "-"  # also where one ended early
        if alone and len(losses) == len(alone):
            pairs = zip(losses, alone, strict=True)
            worst = f"{max(abs(a - b) / abs(b) for a, b in pairs):.1e}"
        lines.append(f"| {name} | {how} | {found['code']} | {'' if how == 'one' else worst} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seconds", type=float, default=160.0, help="end after them")
    parser.add_argument("--only", default="", help="arms whose name or how holds it, and `one`")
    parser.add_argument("--at-once", type=int, default=4, help="arms that run beside each other")
    args = parser.parse_args(argv)
    until = time.monotonic() + args.seconds
    args.work.mkdir(parents=True, exist_ok=True)
    write_inputs(args.work)
    log, lock = args.work / "results.jsonl", Lock()
    known = read_results(log)
    wanted = [
        (number, arm)
        for number, arm in enumerate(arms())
        if (arm.name, arm.how) not in known
        and (arm.how == "one" or args.only in f"{arm.name} {arm.how}")
    ]

    def made(numbered: tuple[int, Arm]) -> None:
        number, arm = numbered
        found = run(arm, args.work, number, until)
        if found is not None:
            with lock, log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")

    with ThreadPoolExecutor(args.at_once) as pool:
        list(pool.map(made, wanted))
    results = read_results(log)
    sys.stdout.write(f"{table(results)}\n")
    return 1 if any(found["code"] for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
