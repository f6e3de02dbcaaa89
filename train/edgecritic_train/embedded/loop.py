"""What all stages share: a clock-driven schedule, exact checkpoints, a metrics log."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgecritic.errors import CriticError
from edgecritic_train.embedded.config import StageBudget
from edgecritic_train.embedded.muon import Muon

logger = logging.getLogger(__name__)
Group = dict[str, object]
SAVE_EVERY_S = 60.0
LOG_EVERY = 20


class TrainingDivergedError(CriticError):
    """The loss is no longer finite."""


def learning_rate(progress: float, step: int, warmup_steps: int) -> float:
    """Factor in (0, 1]: half a cosine down to 2% by the clock, after a linear climb by steps.

    The climb counts steps because the first of them may last as long as a compilation: by the
    clock it would be over before the second.

    Args:
        progress: share of the budget that is spent, 0..1.
        step: steps done before this one.
        warmup_steps: steps of the climb.
    """
    climb = min(1.0, (step + 1) / warmup_steps)
    return climb * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


class Stage:
    """Drives one stage: call `step` with each loss until `running` is false.

    Args:
        name: names the files in `folder`.
        folder: where checkpoints and metrics go.
        modules: what is trained, by the name it is saved under.
        groups: AdamW's groups, with their peak learning rate under ``lr``.
        budget: seconds and rates.
        matrices: Muon's groups, likewise.

    A checkpoint is written to a temporary name, synced and renamed, so a killed run finds
    either the old one or the new one whole.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        modules: Mapping[str, nn.Module],
        groups: Sequence[Group],
        budget: StageBudget,
        *,
        matrices: Sequence[Group] = (),
    ) -> None:
        self.name, self.folder, self.modules, self.budget = name, folder, modules, budget
        folder.mkdir(parents=True, exist_ok=True)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{**group, "peak": group["lr"]} for group in groups],
                betas=(0.9, 0.98),
                weight_decay=0.02,
                fused=torch.cuda.is_available(),
            )
        ]
        if matrices:
            self.optimizers.append(Muon([{**group, "peak": group["lr"]} for group in matrices]))
        self.steps, self.elapsed = 0, 0.0
        self._sums: dict[str, float] = {}
        self._pending: list[Mapping[str, Tensor]] = []
        if self.path.exists():
            self._resume()
        self._last = self._saved = time.monotonic()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        return min(1.0, self.elapsed / self.budget.seconds)

    @property
    def running(self) -> bool:
        return self.elapsed < self.budget.seconds

    def step(self, loss: Tensor, metrics: Mapping[str, Tensor]) -> None:
        """Backpropagate, clip, update, log; save once a minute.

        Raises:
            TrainingDivergedError: a loss since the last look was not finite; the looks are every
                20 steps and before each save.
        """
        factor = learning_rate(self.progress, self.steps, self.budget.warmup_steps)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:
            group["lr"] = group["peak"] * factor
        # Copies: a captured graph writes its next loss where it wrote this one.
        self._pending.append({"loss": loss.detach().clone(), **metrics})
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        now = time.monotonic()
        self.elapsed += now - self._last
        self._last = now
        saving = now - self._saved > SAVE_EVERY_S or not self.running
        if saving or self.steps % LOG_EVERY == 0:
            self._log()  # first: what has diverged must not replace the last checkpoint
        if saving:
            self.save()

    def _log(self) -> None:
        names = {name for entry in self._pending for name in entry}
        means = {
            name: float(
                torch.stack([e[name].float() for e in self._pending if name in e]).nanmean()
            )
            for name in sorted(names)
        }
        # A metric may be undefined in a batch that has nothing of its kind; the loss never is.
        means["loss"] = float(torch.stack([e["loss"].float() for e in self._pending]).mean())
        self._pending.clear()
        if not math.isfinite(means["loss"]):
            raise TrainingDivergedError(
                f"stage {self.name}: the loss is {means['loss']} at step {self.steps}",
                f"lower the learning rates; the last good checkpoint is {self.path}",
            )
        means = {name: value for name, value in means.items() if not math.isnan(value)}
        entry = {"stage": self.name, "step": self.steps, "seconds": round(self.elapsed, 1), **means}
        with (self.folder / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        if self.steps % (LOG_EVERY * 10) == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
            logger.info("%s %d %.0fs %s", self.name, self.steps, self.elapsed, shown)

    def save(self) -> None:
        """Write the checkpoint; only weights that are trained or not rebuilt from files."""
        state = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "elapsed": self.elapsed,
        }
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps, self.elapsed = state["steps"], state["elapsed"]
        logger.info("%s goes on at step %d, %.0f s", self.name, self.steps, self.elapsed)
