"""``edgecritic train sft``: from critic rows a base learns to judge, or a policy to answer."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import CriticError, InputError
from edgecritic_train.tuning.base import Base, compute_dtype
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.parts import Shape, common_arguments, common_parts
from edgecritic_train.tuning.prepare import Prepared, Tell, prepare_rows
from edgecritic_train.tuning.run import Stage, train

_JUDGING: Final = Shape(
    best="agreement",
    losses=("loss", "verdict_loss", "reason_loss", "answer_loss"),
    shown={"loss": "loss", "verdict_accuracy": "verdict", "eval_agreement": "agreement"},
)
_ANSWERING: Final = Shape(
    best="loss",
    losses=("loss",),
    shown={"loss": "loss", "answer_accuracy": "tokens right", "eval_loss": "held out"},
    greater=False,
)


def train_sft(config: TuningConfig, tell: Tell) -> Path:
    """Train a critic, or a policy; see `edgecritic_train.tuning.run.train`."""
    return train(config, stage_of(config), tell)


def stage_of(config: TuningConfig) -> Stage:
    """What the settings ask to be learned.

    Raises:
        InputError: they contradict each other.
    """
    from edgecritic_train.tuning.answers import prepare_answers

    if config.data.share and config.base.attention == "flash_attention_2":
        raise InputError(
            "base.attention is flash_attention_2, which takes no mask of a shared prefix",
            "set base.attention to sdpa, or data.share to false",
        )
    if config.data.learn == "answers":
        if config.data.answers or not config.loss.answer:
            raise InputError(
                "data.learn is answers, and data.answers or a loss.answer of 0 is for a critic",
                "name the rows files in data.train, and leave loss.answer out",
            )
        return Stage("answers", prepare_answers, make_trainer)
    return Stage("sft", prepare_rows, make_trainer)


def make_trainer(config: TuningConfig, base: Base, rows: Prepared[Any], fresh: bool) -> Any:
    """The trainer of a run.

    Args:
        config: of the run.
        base: its base.
        rows: to learn and to judge.
        fresh: whether it begins, or goes on from a checkpoint.
    """
    from transformers import PrinterCallback
    from trl import SFTConfig

    from edgecritic_train.tuning.collate import CriticCollator
    from edgecritic_train.tuning.reading import Room
    from edgecritic_train.tuning.trainer import CriticTrainer, ToJudge

    judging = config.data.learn == "verdicts"
    room = Room(config.optimizer.batch, config.data.max_tokens)
    shape = _JUDGING if judging else _ANSWERING
    parts = common_parts(config, base, rows, shape)
    trainer = CriticTrainer(
        **parts,
        args=SFTConfig(
            **common_arguments(config, rows, shape, fresh=fresh),
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=CriticCollator(
            (*rows.train, *rows.held_out),
            rows.maker,
            config.loss,
            parts["processing_class"].pad_token_id,
            base.folder.image_token,
        ),
        base=base,
        to_judge=ToJudge(rows.held_out, rows.maker, room) if judging else None,
        dtype=compute_dtype(config),
    )
    trainer.remove_callback(PrinterCallback)  # stdout is data
    return trainer


def told(line: str) -> None:
    """Tell the terminal; with several processes, the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def build_parser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of a command that trains."""
    parser = argparse.ArgumentParser(prog=f"edgecritic train {command}", description=description)
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
    parser = build_parser("sft", "Trains a critic's adapter from critic rows, or a policy's.")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    config = read_config(options.config, options.assignments)
    out = train_sft(config, told)
    sys.stdout.write(f"{out}\n")
    return 0


def launched(command: Callable[[], int]) -> int:
    """What `accelerate launch` starts: errors are told as `edgecritic` tells them.

    By every process: one that fails alone would be heard of by nobody.

    Args:
        command: of a module that trains.

    Returns:
        The exit code; 1 after an error.
    """
    try:
        return command()
    except CriticError as error:
        rank = os.environ.get("RANK", "0")
        who = "" if rank == "0" else f" in process {rank}"
        sys.stderr.write(f"edgecritic: error{who}: {error.message}\nhint: {error.hint}\n")
        return 1


if __name__ == "__main__":
    sys.exit(launched(main))
