"""A run of any stage: prepared, begun or gone on with, finished.

The run's folder holds ``run.json`` and ``config.yaml`` (what it was made of), ``metrics.jsonl``,
``tensorboard``, ``loss.png`` and ``agreement.png`` (how it went), ``checkpoint-N`` (what it goes on
from), ``best`` (the best adapter so far) and, at the end, ``adapter``, which ``edgecritic export
merge`` takes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError
from edgecritic_train.critic_data.writing import alone
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.checkpoints import (
    drop_newer,
    newest_complete,
    replace_folder,
    restore_folder,
    step_of,
    write_whole,
)
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.failures import told_apart
from edgecritic_train.tuning.manifest import (
    RUN,
    begin_run,
    data_fingerprint,
    git_state,
    versions,
)
from edgecritic_train.tuning.prepare import Prepared, Tell
from edgecritic_train.tuning.settings import plain

ADAPTER: Final = "adapter"


@dataclass(frozen=True, slots=True)
class Stage:
    """What tells the stages apart.

    Attributes:
        name: of the command.
        prepare: reads and checks the rows.
        trainer: makes the trainer; its last argument tells whether the run begins.
    """

    name: str
    prepare: Callable[[TuningConfig, Base, Tell], Prepared[Any]]
    trainer: Callable[[TuningConfig, Base, Prepared[Any], bool], Any]


def train(config: TuningConfig, stage: Stage, tell: Tell) -> Path:
    """Train, or go on where an earlier process was stopped.

    Args:
        config: of the run.
        stage: how to train.
        tell: is told what goes on.

    Returns:
        The folder of the trained adapter.

    Raises:
        CriticError: settings, data, base or machine do not allow it, or the training diverged.
    """
    from edgecritic_train.tuning.adapters import check_start
    from edgecritic_train.tuning.arguments import (
        check_machine,
        make_deterministic,
        without_renamings,
    )

    check_machine(config)
    make_deterministic(config)
    base = open_base(config)
    check_start(config, base)
    rows = stage.prepare(config, base, tell)
    facts = _facts(stage, base, rows)
    out = config.output / ADAPTER
    with told_apart(config.output), ExitStack() as held:
        start = _begun(config, facts, held, tell)
        if (out / "training.json").is_file():
            tell(f"{out} is finished already")
            return out
        if start is not None:
            tell(f"going on from {start}")
        held.enter_context(without_renamings())
        trainer = stage.trainer(config, base, rows, start is None)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
        if trainer.state.global_step < trainer.state.max_steps:
            tell(
                f"ended at step {trainer.state.global_step} of {trainer.state.max_steps}: nothing "
                f"was better in {config.evaluation.patience} evaluations"
            )
        _finish(trainer, config, {**facts, "base": _base_facts(config, base)}, out)
    return out


def _begun(config: TuningConfig, facts: dict[str, Any], held: ExitStack, tell: Tell) -> Path | None:
    """Take the run's folder for as long as `held`; the checkpoint to go on from, if any."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    with state.main_process_first():
        if not state.is_main_process and not (config.output / RUN).is_file():
            raise ArtifactError(
                f"{config.output} holds no {RUN}, which the first process has written",
                "name an output folder that all nodes share",
            )
        begin_run(config, facts)
        if state.is_main_process:  # the others wait for it here, and not for as long as a training
            waiting = tell if state.num_processes == 1 else _refusing(config.output)
            held.enter_context(alone(config.output, waiting))
            restore_folder(config.output / ADAPTER)
            restore_folder(config.output / "best")
            start = newest_complete(config.output)
            drop_newer(config.output, -1 if start is None else step_of(start))
            return start
    return newest_complete(config.output)


def _refusing(folder: Path) -> Tell:
    def refuse(_: str) -> None:
        raise ArtifactError(
            f"another process trains in {folder}", "start again when it has ended: it goes on"
        )

    return refuse


def _facts(stage: Stage, base: Base, rows: Prepared[Any]) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "dialect": rows.maker.dialect.identity,
        "data": {
            "sha256": data_fingerprint((*rows.train, *rows.held_out)),
            "rows": len(rows.train),
            "sequences": len(rows.packs),
            "held_out": len(rows.held_out),
            "tokens": sum(rows.lengths),
            "longest": max(rows.lengths),
        },
        "image": base.eye.record(),
    }


def _base_facts(config: TuningConfig, base: Base) -> dict[str, Any]:
    """What an adapter's summary says of the model that it belongs to."""
    return {
        "model": config.base.model,
        "revision": config.base.revision,
        "model_type": base.folder.config["model_type"],
        "quantization": config.base.quantization,
        "double_quantization": config.base.quantization == "nf4",
        "dtype": config.base.dtype,
    }


def _finish(trainer: Any, config: TuningConfig, facts: dict[str, Any], out: Path) -> None:
    """Write the adapter that the run is for: the best one, or the last where none was judged."""
    from edgecritic_train.tuning.adapters import SUMMARY
    from edgecritic_train.tuning.guard import BEST

    state = trainer.state
    best = config.output / BEST
    summary = {
        **facts,
        "step": state.global_step,
        "steps": state.global_step,
        "config": plain(config),
        "versions": versions(),
        "git": git_state(),
    }
    if not best.is_dir():
        trainer.save_adapter(out, summary)
        return
    if trainer.is_world_process_zero():
        part = out.with_name(f".{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(best, part)
        judged = json.loads((best / SUMMARY).read_text(encoding="utf-8"))
        summary |= {"step": judged["step"], "held_out": judged}
        write_whole(part / SUMMARY, json.dumps(summary, indent=2) + "\n")
        replace_folder(part, out)
    trainer.accelerator.wait_for_everyone()
