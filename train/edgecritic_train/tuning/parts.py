"""What the trainers of all stages are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgecritic_train.tuning.base import Base, load_base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.families import LANGUAGE, Family
from edgecritic_train.tuning.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Shape:
    """How a stage logs and judges.

    Attributes:
        best: metric of an evaluation that decides which adapter is the best.
        greater: whether more of it is better.
        losses: that are drawn.
        shown: metrics on the terminal, with their names there.
    """

    best: str
    losses: tuple[str, ...]
    shown: Mapping[str, str]
    greater: bool = True


def adapted_base(config: TuningConfig, base: Base) -> tuple[Any, Any]:
    """The model with its adapter, and the tokenizer; the same for the same seed."""
    from transformers import AutoTokenizer, set_seed

    from edgecritic_train.tuning.adapters import adapted

    set_seed(config.seed)
    model = adapted(load_base(base, config), base.family, config.adapter)
    if config.optimizer.compile:
        compile_blocks(model, checkpointed=config.optimizer.gradient_checkpointing)
    return model, AutoTokenizer.from_pretrained(base.folder.path, local_files_only=True)


def compile_blocks(model: Any, *, checkpointed: bool) -> None:
    """Let torch compile each block when it first runs; all of a kind share the result.

    Of a block that transformers checkpoints, each part by itself: what is checkpointed stays
    theirs.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for name, module in model.named_modules():
        if isinstance(module, GradientCheckpointingLayer):
            # Sequences differ in length, and a pass's last batch in their number: symbols from the
            # start. Of a tower's patches there are always as many; of its tiles torch finds out.
            symbols = True if LANGUAGE in name else None
            for part in module.children() if checkpointed else [module]:
                part.compile(dynamic=symbols)


def rates_of(config: TuningConfig, family: Family) -> dict[str, float]:
    """Learning rates that differ, by the path of the module; the innermost first.

    Qwen2.5-VL's projector is a part of its tower.
    """
    asked = {
        family.projector: config.optimizer.projector_learning_rate,
        family.tower: config.optimizer.vision_learning_rate,
    }
    return {path: rate for path, rate in asked.items() if rate is not None}


def common_parts(
    config: TuningConfig, base: Base, rows: Prepared[Any], shape: Shape
) -> dict[str, Any]:
    """Keyword arguments that all trainers take; datasets hold numbers of rows."""
    from datasets import Dataset

    from edgecritic_train.tuning.callbacks import LastStep, Patience
    from edgecritic_train.tuning.guard import GuardOptions
    from edgecritic_train.tuning.logs import Progress, RunLog

    model, tokenizer = adapted_base(config, base)
    all_rows = (*rows.train, *rows.held_out)
    judged = bool(rows.held_out)
    callbacks: list[Any] = [
        RunLog(config.output, shape.losses),
        Progress(shape.shown),
        LastStep(judged=judged),
    ]
    if judged and config.evaluation.patience is not None:
        callbacks.append(Patience(config.evaluation.patience))
    held_out = [[number] for number in range(len(rows.train), len(all_rows))]
    return {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": Dataset.from_dict({"rows": list(map(list, rows.packs))}),
        "eval_dataset": Dataset.from_dict({"rows": held_out}) if judged else None,
        "callbacks": callbacks,
        "guard": GuardOptions(
            config.output,
            config.checkpoints.keep,
            rates_of(config, base.family),
            {row.id: row for row in all_rows},
        ),
    }


def common_arguments(
    config: TuningConfig, rows: Prepared[Any], shape: Shape, *, fresh: bool
) -> dict[str, Any]:
    """Keyword arguments of the settings that TRL's trainers take."""
    from edgecritic_train.tuning.arguments import trainer_arguments

    judged = bool(rows.held_out)
    found = trainer_arguments(config, judged=judged, fresh=fresh)
    if judged:
        found |= {"metric_for_best_model": shape.best, "greater_is_better": shape.greater}
    return found
