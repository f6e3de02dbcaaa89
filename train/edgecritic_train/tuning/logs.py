"""What a run tells while it goes on: JSON Lines, TensorBoard, plots, one line on the terminal."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edgecritic_train.tuning.checkpoints import write_whole
from edgecritic_train.tuning.manifest import BOARD, METRICS
from edgecritic_train.tuning.plots import plot

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

logger = logging.getLogger(__name__)
_PLOT_SECONDS: Final = 60.0
_EVAL: Final = "eval_"
_DRAWING: Final = ("tensorboard", "matplotlib")
"""Packages that a run does without: no training is lost for a picture of it."""
_LOSSES: Final = ("loss", "verdict_loss", "reason_loss")


class RunLog(TrainerCallback):
    """Writes ``metrics.jsonl``, TensorBoard's events and the plots into the run's folder.

    Args:
        folder: of the run.
        losses: metrics that the first plot shows.
    """

    def __init__(self, folder: Path, losses: Sequence[str] = _LOSSES) -> None:
        self._folder = folder
        self._losses = tuple(losses)
        self._board: SummaryWriter | None = None
        self._drawn = time.monotonic()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Forget what was logged after the step that the run goes on from."""
        if not state.is_world_process_zero:
            return
        # A run that begins anew judges its base anew, too.
        logged = read_metrics(self._folder) if state.global_step else []
        kept = [line for line in logged if line["step"] <= state.global_step]
        write_whole(self._folder / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        if missing := [name for name in _DRAWING if find_spec(name) is None]:
            logger.warning("%s not installed: metrics are in %s alone", missing[0], METRICS)
        if "tensorboard" not in missing:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / BOARD), purge_step=state.global_step + 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a line."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        judged = any(key.startswith(_EVAL) for key in logs)
        values = {
            key.removeprefix(_EVAL): value
            for key, value in logs.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        }
        line = {"step": state.global_step, "kind": "evaluation" if judged else "train", **values}
        with (self._folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{line['kind']}/{key}", value, state.global_step)
            self._board.flush()
        if judged and time.monotonic() > self._drawn + _PLOT_SECONDS:
            plot(self._folder, read_metrics(self._folder), self._losses)
            self._drawn = time.monotonic()

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Draw the last plots."""
        if not state.is_world_process_zero:
            return
        if self._board is not None:
            self._board.close()
        plot(self._folder, read_metrics(self._folder), self._losses)


class Progress(TrainerCallback):
    """One line on stderr: steps, loss, verdict accuracy, time to go.

    Args:
        shown: metric to the name it is shown by.
    """

    def __init__(self, shown: Mapping[str, str]) -> None:
        self._shown = dict(shown)
        self._bar: tqdm[Any] | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begin the line."""
        if state.is_world_process_zero:
            from tqdm import tqdm

            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=1.0,
            )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the newest numbers."""
        if self._bar is not None and logs:
            found = {name: logs[key] for key, name in self._shown.items() if key in logs}
            if found:
                self._bar.set_postfix({name: f"{value:.3f}" for name, value in found.items()})

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """End the line."""
        self.close()

    def close(self) -> None:
        """End the line, also where the run ended before its last step."""
        if self._bar is not None:
            self._bar.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last one that was cut off is left out."""
    path = folder / METRICS
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
