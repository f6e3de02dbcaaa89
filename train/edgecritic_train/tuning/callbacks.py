"""What stops a run, and what its last step does."""

from __future__ import annotations

from typing import Any

from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)


class LastStep(TrainerCallback):
    """Judges, saves and logs at the last step, whatever its number."""

    def __init__(self, *, judged: bool) -> None:
        self._judged = judged

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> TrainerControl:
        """Ask for it."""
        if state.global_step >= state.max_steps:
            control.should_save = control.should_log = True
            control.should_evaluate = self._judged
        return control


class Patience(EarlyStoppingCallback):
    """Stops after so many evaluations without a better agreement; remembered by checkpoints."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Say nothing: the best adapter is kept in a folder of its own."""
