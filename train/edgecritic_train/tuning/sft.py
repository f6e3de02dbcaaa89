"""``edgecritic train sft``: a base learns to judge from critic rows.

The run's folder holds ``run.json`` and ``config.yaml`` (what it was made of), ``metrics.jsonl``,
``tensorboard``, ``loss.png`` and ``agreement.png`` (how it went), ``checkpoint-N`` (what it goes on
from), ``best`` (the adapter with the best agreement so far) and, at the end, ``adapter``, which
``edgecritic export merge`` takes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgecritic_train.tuning.base import Base, compute_dtype, load_base, open_base
from edgecritic_train.tuning.checkpoints import drop_newer, newest_complete, restore_folder, step_of
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.manifest import begin_run, data_fingerprint, git_state, versions
from edgecritic_train.tuning.prepare import Prepared, Tell, prepare_rows
from edgecritic_train.tuning.settings import plain

ADAPTER: Final = "adapter"


def train_sft(config: TuningConfig, tell: Tell) -> Path:
    """Train, or go on where an earlier process was stopped.

    Args:
        config: of the run.
        tell: is told what goes on.

    Returns:
        The folder of the trained adapter.

    Raises:
        CriticError: settings, data, base or machine do not allow it, or the training diverged.
    """
    import torch
    from accelerate import PartialState

    from edgecritic_train.tuning.arguments import (
        check_machine,
        make_deterministic,
        without_renamings,
    )

    check_machine(config)
    make_deterministic(config)
    base = open_base(config)
    rows = prepare_rows(config, base, tell)
    facts = {
        "stage": "sft",
        "dialect": rows.maker.dialect.identity,
        "data": {
            "sha256": data_fingerprint((*rows.train, *rows.held_out)),
            "rows": len(rows.train),
            "held_out": len(rows.held_out),
            "tokens": sum(rows.lengths),
            "longest": max(rows.lengths),
        },
        "image": base.eye.record(),
    }
    out = config.output / ADAPTER
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        begin_run(config, facts)
        restore_folder(out)
        restore_folder(config.output / "best")
    if (out / "training.json").is_file():
        tell(f"{out} is finished already")
        return out
    with without_renamings():
        trainer, start = make_trainer(config, base, rows, tell)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    _finish(trainer, config, facts, out)
    return out


def make_trainer(
    config: TuningConfig, base: Base, rows: Prepared, tell: Tell
) -> tuple[Any, Path | None]:
    """The trainer, and the checkpoint that it goes on from."""
    import torch
    from accelerate import PartialState
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, set_seed
    from trl import SFTConfig

    from edgecritic_train.tuning.adapters import adapted
    from edgecritic_train.tuning.arguments import trainer_arguments
    from edgecritic_train.tuning.callbacks import LastStep, Patience
    from edgecritic_train.tuning.collate import CriticCollator
    from edgecritic_train.tuning.guard import GuardOptions
    from edgecritic_train.tuning.logs import Progress, RunLog
    from edgecritic_train.tuning.trainer import CriticTrainer

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        start = newest_complete(config.output)
        drop_newer(config.output, -1 if start is None else step_of(start))
    if start is not None:
        tell(f"going on from {start}")
    set_seed(config.seed)
    model = adapted(load_base(base, config), base.family, config.adapter)
    tokenizer = AutoTokenizer.from_pretrained(base.folder.path, local_files_only=True)
    all_rows = (*rows.train, *rows.held_out)
    control = {base.folder.image_token: "an image token"}
    collator = CriticCollator(all_rows, rows.maker, config.loss, tokenizer.pad_token_id, control)
    judged = bool(rows.held_out)
    numbers = list(range(len(all_rows)))
    arguments = SFTConfig(
        **trainer_arguments(config, judged=judged, fresh=start is None),
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **({"metric_for_best_model": "agreement", "greater_is_better": True} if judged else {}),
    )
    callbacks: list[Any] = [
        RunLog(config.output),
        Progress({"loss": "loss", "verdict_accuracy": "verdict", "eval_agreement": "agreement"}),
        LastStep(judged=judged),
    ]
    if judged and config.evaluation.patience is not None:
        callbacks.append(Patience(config.evaluation.patience))
    trainer = CriticTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=Dataset.from_dict({"row": numbers[: len(rows.train)]}),
        eval_dataset=Dataset.from_dict({"row": numbers[len(rows.train) :]}) if judged else None,
        processing_class=tokenizer,
        callbacks=callbacks,
        base=base,
        maker=rows.maker,
        held_out=rows.held_out,
        dtype=compute_dtype(config),
        guard=GuardOptions(
            config.output, config.checkpoints.keep, {row.id: row for row in all_rows}
        ),
    )
    trainer.remove_callback(PrinterCallback)  # stdout is data
    return trainer, start


def _finish(trainer: Any, config: TuningConfig, facts: dict[str, Any], out: Path) -> None:
    """Write the adapter that the run is for: the best one, or the last where none was judged."""
    from edgecritic_train.tuning.checkpoints import replace_folder, write_whole
    from edgecritic_train.tuning.guard import BEST, SUMMARY

    state = trainer.state
    best = config.output / BEST
    summary = {
        **facts,
        "base": {
            "model": config.base.model,
            "revision": config.base.revision,
            "quantization": config.base.quantization,
            "double_quantization": config.base.quantization == "nf4",
            "dtype": config.base.dtype,
        },
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
        import shutil

        part = out.with_name(f".{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(best, part)
        judged = json.loads((best / SUMMARY).read_text(encoding="utf-8"))
        summary |= {"step": judged["step"], "held_out": judged}
        write_whole(part / SUMMARY, json.dumps(summary, indent=2) + "\n")
        replace_folder(part, out)
    trainer.accelerator.wait_for_everyone()


def told(line: str) -> None:
    """Tell the terminal; with several processes, the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="edgecritic train sft", description="Trains a critic's adapter from critic rows."
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="another value for a setting, such as optimizer.learning_rate=5e-5",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    config = read_config(options.config, options.assignments)
    out = train_sft(config, told)
    sys.stdout.write(f"{out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
