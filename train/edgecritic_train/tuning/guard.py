"""What every trainer here adds to TRL's.

Whole checkpoints, a stop at NaN, the best adapter kept, tokens per second and peak memory logged.

`Guarded` stands in front of a TRL trainer in the list of bases.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from edgecritic.errors import ArtifactError, CriticError
from edgecritic_train.critic_data.rows import CriticRow, to_line
from edgecritic_train.tuning.adapters import CONFIG, SUMMARY, WEIGHTS
from edgecritic_train.tuning.branches import PADDING
from edgecritic_train.tuning.checkpoints import mark_complete, prune, replace_folder, write_whole
from edgecritic_train.tuning.logs import Progress

if TYPE_CHECKING:
    _Base: TypeAlias = Any  # a TRL trainer, which has no types
else:
    _Base = object

BEST, DIVERGED = "best", "diverged"


class DivergedError(CriticError):
    """A loss or a gradient is not finite; training on would spoil the weights."""


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What the guard needs to know.

    Attributes:
        folder: of the run.
        keep: checkpoints that stay.
        rates: learning rates of their own, by the path of the module, the innermost first.
        rows: by their id, to be saved when a batch of them gave NaN.
    """

    folder: Path
    keep: int
    rates: Mapping[str, float]
    rows: Mapping[str, CriticRow]


class Guarded(_Base):  # type: ignore[misc]  # TRL has no types
    """Mixin for TRL trainers over a `PeftModel`."""

    guard: GuardOptions

    def __init__(self, *args: Any, guard: GuardOptions, model: Any, **kwargs: Any) -> None:
        self.guard = guard
        self._step_inputs: list[Mapping[str, Any]] = []
        # Numbers of a step stay on the GPU until its end: to read one is to wait for the GPU.
        self._losses: list[torch.Tensor] = []
        self._tokens: torch.Tensor | int = 0
        self._since = time.perf_counter()
        # TRL rounds the adapters of a quantized base to bfloat16, in which small steps are lost.
        exact = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        super().__init__(*args, model=model, **kwargs)
        for name, parameter in model.named_parameters():
            if name in exact:
                parameter.data = exact[name].to(parameter.device)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Give what has a rate of its own a group of its own, before the schedule begins."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if made and self.guard.rates:
            model = args[0] if args and args[0] is not None else self.model
            names = {id(p): name for name, p in model.named_parameters()}
            apart = _apart(optimizer.param_groups, names, self.guard.rates)
            optimizer.param_groups[:] = apart
        return optimizer

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; where that fails, what is told of it begins a line of its own."""
        try:
            return super().train(*args, **kwargs)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, Progress):
                    callback.close()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: the run's summary says more."""

    def _send_telemetry(self) -> None:
        """Tell nobody."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch; `_get_grad_norm` looks whether its loss is finite."""
        self._step_inputs.append(dict(inputs))
        self._tokens = self._tokens + n_tokens(inputs)
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._losses.append(loss.detach())
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Judge held-out rows; what they ask of the blocks is too varied to be compiled."""
        with torch.compiler.set_stance("force_eager"):
            return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the speed and, on a GPU, the peak of what torch has allocated."""
        if self.model.training and self._tokens:
            spread = int(self._tokens) * self.accelerator.num_processes
            logs["tokens_per_second"] = spread / (time.perf_counter() - self._since)
            self._tokens = 0
            if torch.cuda.is_available():
                logs["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._since = time.perf_counter()
        super().log(logs, start_time)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm, before the optimizer's step; it and the losses of the step are finite."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        losses = torch.stack(self._losses).tolist()
        # With several processes all must stop alike; they learn of it by the gradients' norm.
        if self.accelerator.num_processes == 1:
            for loss, batch in zip(losses, self._step_inputs, strict=True):
                if not math.isfinite(loss):
                    self._stop_diverged("loss", loss, [batch])
        if not math.isfinite(float(norm)) and not self._scaled_too_high():
            self._stop_diverged("norm of the gradients", float(norm), self._step_inputs)
        self._step_inputs, self._losses = [], []
        return norm

    def _scaled_too_high(self) -> bool:
        """Whether float16's gradients overflow for their scale; then the step is left out.

        The scale is halved each time. Where it is 1 already, the gradients themselves overflow.
        """
        scaler = self.accelerator.scaler
        return scaler is not None and scaler.get_scale() > 1

    def _stop_diverged(self, what: str, value: float, batches: Sequence[Mapping[str, Any]]) -> None:
        folder = self.guard.folder / DIVERGED
        folder.mkdir(exist_ok=True)
        name = f"step-{self.state.global_step + 1}-process-{self.accelerator.process_index}"
        ids = [row_id for batch in batches for row_id in batch["shown"].row_ids]
        lines = [to_line(self.guard.rows[row_id], folder) for row_id in ids]
        write_whole(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        tensors = [
            {key: value.cpu() for key, value in batch.items() if isinstance(value, torch.Tensor)}
            for batch in batches
        ]
        torch.save(tensors, folder / f"{name}.pt")
        raise DivergedError(
            f"the {what} is {value} at step {self.state.global_step + 1}, with rows "
            f"{', '.join(ids[:4])}{', ...' if len(ids) > 4 else ''}; they are in {folder}",
            "lower optimizer.learning_rate, or look at those rows; the last checkpoint is good",
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._check_disk()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            mark_complete(self.guard.folder / f"checkpoint-{self.state.global_step}")
            prune(self.guard.folder, self.guard.keep)
        self.accelerator.wait_for_everyone()

    def _check_disk(self) -> None:
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        needed = 16 * trained + (64 << 20)  # weights, two moments in float32, and the rest
        free = shutil.disk_usage(self.guard.folder).free
        if free < needed:
            raise ArtifactError(
                f"{self.guard.folder} needs {needed / 1e9:.1f} GB for a checkpoint, and the disk "
                f"has {free / 1e9:.1f} GB left",
                "free some space and start the same command again: it goes on",
            )

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better: bool = super()._determine_best_metric(metrics, trial)
        # Of equals the last has learned most: at the first step of a warmup that is nothing.
        if metrics[f"eval_{self.args.metric_for_best_model}"] == self.state.best_metric:
            self.save_adapter(self.guard.folder / BEST, {"step": self.state.global_step, **metrics})
        self.state.best_global_step = None  # the best adapter is no checkpoint: look for none
        return better

    def save_adapter(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """Write the adapter and a summary, in place of what is there, and nothing by halves."""
        part = folder.with_name(f".{folder.name}.part")
        if self.is_world_process_zero():
            shutil.rmtree(part, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.save_model(str(part), _internal_call=True)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            for path in part.iterdir():
                if path.is_dir():  # the reference policy of a preference training
                    shutil.rmtree(path)
                elif path.name not in (CONFIG, WEIGHTS):
                    path.unlink()
            write_whole(part / SUMMARY, json.dumps(summary, indent=2) + "\n")
            replace_folder(part, folder)
        self.accelerator.wait_for_everyone()


def n_tokens(batch: Mapping[str, Any]) -> torch.Tensor | int:
    """Tokens that a batch computes, padding aside; a tensor on the batch's device, or a number."""
    tokens: torch.Tensor = batch["input_ids"]
    branches: torch.Tensor | None = batch.get("branches")
    mask = batch.get("attention_mask") if branches is None else branches != PADDING
    return tokens.numel() if mask is None else mask.sum()


def _apart(
    groups: Sequence[dict[str, Any]], names: Mapping[int, str], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The groups, each split by the rates of its parameters' modules."""
    found = []
    for group in groups:
        split: dict[str, list[Any]] = {}
        for parameter in group["params"]:
            name = f"{names[id(parameter)]}."
            path = next((path for path in rates if f".{path}." in name), "")
            split.setdefault(path, []).append(parameter)
        found += [
            {**group, "params": parameters, "lr": rates.get(path, group["lr"])}
            for path, parameters in split.items()
        ]
    return found
