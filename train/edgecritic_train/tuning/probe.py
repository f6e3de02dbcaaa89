"""A few steps of a run with its longest rows, to see what they take.

``edgecritic train estimate --probe`` starts this module as a process of its own: memory that ran
out stays held in the process where it did, and a limit of the GPU's memory holds for all of one.
The last line on stdout is the `Probe` as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from edgecritic.errors import BackendUnavailableError
from edgecritic_train.tuning.base import open_base
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.prepare import Prepared
from edgecritic_train.tuning.run import Stage

STEPS: Final = 6
_WARM: Final = 2
"""First steps, in which kernels are chosen and the optimizer's state appears; not timed."""
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Probe:
    """What some steps took.

    Attributes:
        fits: False where the GPU, or the part of it that was allowed, had no room.
        tokens: of a batch, as they are computed.
        peak: bytes; on a GPU of what torch had allocated, else of the whole process.
        reserved: bytes that torch held of the GPU at most; 0 without one.
        seconds: of a batch, the median.
        device: its name.
    """

    fits: bool
    tokens: int = 0
    peak: int = 0
    reserved: int = 0
    seconds: float = 0.0
    device: str = ""


def probe(path: Path, assignments: Sequence[str], *, dpo: bool, cap: float | None) -> Probe:
    """Run a few steps in a fresh process.

    Args:
        path: settings of the run.
        assignments: on top of them.
        dpo: of `edgecritic train dpo` in place of `sft`.
        cap: GiB of the GPU that it may use; None for all.

    Raises:
        BackendUnavailableError: the process ended without an answer; its last words are told.
    """
    command = [sys.executable, "-m", __name__, str(path)]
    command += [word for text in assignments for word in ("--set", text)]
    command += ["--dpo"] if dpo else []
    command += [] if cap is None else ["--cap", str(cap)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()[-3:]
        raise BackendUnavailableError(
            f"the probe ended with status {done.returncode}: {' '.join(said)[:600]}",
            "mend what it says; a status of -9 means that the machine's memory was full",
        )
    return Probe(**json.loads(lines[-1]))


def longest(found: Prepared[Any], count: int) -> Prepared[Any]:
    """The `count` longest sequences, over and over where there are fewer, and none held out."""
    order = sorted(range(len(found.packs)), key=lambda k: -found.lengths[k])
    taken = [order[k % len(order)] for k in range(count)]
    return replace(
        found,
        packs=tuple(found.packs[k] for k in taken),
        lengths=tuple(found.lengths[k] for k in taken),
        held_out=(),
    )


def _measured(config: TuningConfig, stage: Stage, cap: float | None) -> Probe:
    import torch

    from edgecritic_train.tuning.arguments import check_machine, make_deterministic
    from edgecritic_train.tuning.sft import told

    check_machine(config)
    make_deterministic(config)
    gpu = torch.cuda.is_available()
    if gpu and cap is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap * _GIB / total))
    base = open_base(config)
    optimizer = config.optimizer
    count = STEPS * optimizer.batch * optimizer.accumulation
    rows = longest(stage.prepare(config, base, told), count)
    try:
        trainer = stage.trainer(config, base, rows, True)
        seconds = _timed(trainer)
    except torch.OutOfMemoryError:
        return Probe(fits=False, device=torch.cuda.get_device_name())
    tokens = max(batch["input_ids"].numel() for batch in trainer.get_train_dataloader())
    return Probe(
        fits=True,
        tokens=tokens,
        peak=torch.cuda.max_memory_allocated() if gpu else _process_peak(),
        reserved=torch.cuda.max_memory_reserved() if gpu else 0,
        seconds=median(seconds[_WARM:]) / optimizer.accumulation,
        device=torch.cuda.get_device_name() if gpu else "CPU",
    )


def _timed(trainer: Any) -> list[float]:
    """Seconds of each step; nothing is written."""
    from transformers import TrainerCallback
    from transformers.trainer_utils import IntervalStrategy

    from edgecritic_train.tuning.callbacks import LastStep
    from edgecritic_train.tuning.logs import Progress, RunLog

    for callback in (LastStep, Progress, RunLog):
        trainer.remove_callback(callback)
    trainer.args.save_strategy = IntervalStrategy.NO
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.begun)

    trainer.add_callback(Clock())
    trainer.train()
    return seconds


def _process_peak() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from edgecritic.errors import CriticError
    from edgecritic_train.tuning import dpo, sft
    from edgecritic_train.tuning.arguments import without_renamings

    parser = argparse.ArgumentParser(prog="edgecritic_train.tuning.probe", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--dpo", action="store_true")
    parser.add_argument("--cap", type=float, metavar="GIB")
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder, without_renamings():
            config = probed(read_config(options.config, options.assignments), Path(folder))
            stage = dpo.stage_of(config) if options.dpo else sft.stage_of(config)
            found = _measured(config, stage, options.cap)
    except CriticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{json.dumps(asdict(found))}\n")
    return 0


def probed(config: TuningConfig, output: Path) -> TuningConfig:
    """The run, cut down to `STEPS` steps, and none of its files.

    Two batches a step, where it accumulates: the second meets the first one's gradients.
    """
    return replace(
        config,
        output=output,
        data=replace(config.data, workers=0),
        optimizer=replace(
            config.optimizer, accumulation=min(2, config.optimizer.accumulation), max_steps=STEPS
        ),
        checkpoints=replace(config.checkpoints, every=STEPS + 1),
    )


if __name__ == "__main__":
    sys.exit(main())
