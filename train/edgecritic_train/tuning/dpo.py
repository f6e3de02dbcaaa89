"""``edgecritic train dpo``: preference learning from pairwise critic rows with a winner."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgecritic_train.tuning.base import Base, compute_dtype
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.parts import Shape, common_arguments, common_parts
from edgecritic_train.tuning.prepare import Prepared, Tell
from edgecritic_train.tuning.run import Stage, train
from edgecritic_train.tuning.sft import build_parser, launched, told

_SHAPE: Final = Shape(
    best="rewards/accuracies",
    losses=("loss", "rewards/margins"),
    shown={"loss": "loss", "rewards/accuracies": "accuracy", "rewards/margins": "margin"},
)


def train_dpo(config: TuningConfig, tell: Tell) -> Path:
    """Train a policy; see `edgecritic_train.tuning.run.train`."""
    return train(config, stage_of(config), tell)


def stage_of(_: TuningConfig) -> Stage:
    """Preference learning."""
    from edgecritic_train.tuning.pairs import prepare_pairs

    return Stage("dpo", prepare_pairs, make_trainer)


def make_trainer(config: TuningConfig, base: Base, rows: Prepared[Any], fresh: bool) -> Any:
    """The trainer of a run; see `edgecritic_train.tuning.sft.make_trainer`."""
    from transformers import PrinterCallback
    from trl import DPOConfig

    from edgecritic_train.tuning.dpo_trainer import PreferenceTrainer
    from edgecritic_train.tuning.pairs import PairCollator

    parts = common_parts(config, base, rows, _SHAPE)
    shared = config.dpo.form == "shared_prefix"
    trainer = PreferenceTrainer(
        **parts,
        args=DPOConfig(
            **common_arguments(config, rows, _SHAPE, fresh=fresh),
            beta=config.dpo.beta,
            loss_type=["sigmoid"],
        ),
        data_collator=PairCollator(
            (*rows.train, *rows.held_out),
            rows.maker,
            parts["processing_class"].pad_token_id,
            shared=shared,
        ),
        base=base,
        dtype=compute_dtype(config),
        shared=shared,
    )
    trainer.remove_callback(PrinterCallback)  # stdout is data
    return trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser("dpo", "Trains a policy from pairwise critic rows with a winner.")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    out = train_dpo(read_config(options.config, options.assignments), told)
    sys.stdout.write(f"{out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(launched(main))
