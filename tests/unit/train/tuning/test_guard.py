"""What is a divergence, and what is float16 looking for its scale."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from edgecritic_train.tuning.collate import Shown
from edgecritic_train.tuning.guard import DivergedError, Guarded, GuardOptions
from edgecritic_train.tuning.logs import RunLog, read_metrics


class Norms:
    """Stands for TRL's trainer: the norm is the one that is given."""

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return grad_norm


class Trainer(Guarded, Norms):
    """A guard behind one batch, which has no rows."""

    def __init__(self, folder: Path, scale: float | None, loss: float) -> None:
        scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
        self.accelerator = SimpleNamespace(num_processes=1, process_index=0, scaler=scaler)
        self.guard = GuardOptions(folder, 1, {}, {})
        self.state = SimpleNamespace(global_step=0)
        self._losses = [torch.tensor(loss)]
        self._step_inputs = [{"shown": Shown((), ())}]


def test_a_scale_that_is_too_high_is_no_divergence(tmp_path: Path) -> None:
    """float16 begins with 65,536, and is halved until nothing overflows; the step is left out."""
    assert Trainer(tmp_path, 65536.0, 2.0)._get_grad_norm(None, inf) == inf


@pytest.mark.parametrize(
    ("scale", "loss", "norm"), [(1.0, 2.0, inf), (None, 2.0, nan), (65536.0, nan, 1.0)]
)
def test_what_no_scale_mends_is_one(
    tmp_path: Path, scale: float | None, loss: float, norm: float
) -> None:
    with pytest.raises(DivergedError):
        Trainer(tmp_path, scale, loss)._get_grad_norm(None, norm)
    assert (tmp_path / "diverged" / "step-1-process-0.pt").is_file()


def test_a_norm_that_overflowed_leaves_the_log_readable(tmp_path: Path) -> None:
    """JSON knows no infinity, and other readers than Python's stop there."""
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    log, state, control = RunLog(tmp_path), TrainerState(global_step=1), TrainerControl()
    log.on_log(arguments, state, control, {"loss": 2.0, "grad_norm": inf})
    assert read_metrics(tmp_path) == [{"step": 1, "kind": "train", "loss": 2.0}]
