"""TRL's SFTTrainer with the loss by parts and verdicts on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import DistributedType
from trl import SFTTrainer

from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.agreement import agreement
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.collate import model_inputs
from edgecritic_train.tuning.examples import PARTS, ExampleMaker
from edgecritic_train.tuning.guard import Guarded
from edgecritic_train.tuning.reading import Judgement, Room, VerdictReader

_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class ToJudge:
    """What a critic judges at an evaluation.

    Attributes:
        rows: held out.
        maker: lays them out.
        room: how much is judged at once.
    """

    rows: Sequence[CriticRow]
    maker: ExampleMaker
    room: Room


class CriticTrainer(Guarded, SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """Trains on batches of `CriticCollator`.

    Args:
        base: that the model was loaded from.
        to_judge: by the critic; None for a policy, whose evaluations are losses alone.
        dtype: of the vision tower.
    """

    # `compute_loss` divides by the weights of the whole accumulated step.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        base: Base,
        to_judge: ToJudge | None,
        dtype: torch.dtype,
        **kwargs: Any,
    ) -> None:
        self._base, self._to_judge, self._dtype = base, to_judge, dtype
        self._sums: dict[str, torch.Tensor] = {}
        super().__init__(*args, **kwargs)
        sparing_gradients(self.model.get_base_model(), base, self.args.gradient_checkpointing)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Weighted mean of the tokens' negative log-likelihoods, over the whole step.

        Logits are computed only where something is learned: TRL's fused head sees to that.
        """
        weights = inputs["weights"][:, 1:]
        plain = self.accelerator.unwrap_model(self.model).get_base_model()
        laid = model_inputs(self._base, plain, inputs, inputs["shown"].pictures, self._dtype)
        outputs = model(labels=inputs["labels"], fused_lm_head=True, **laid)
        losses = -outputs.log_probs
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (losses * weights).sum() / torch.as_tensor(total).clamp(min=_LEAST)
        if num_items_in_batch is not None:
            # The sum is over all processes, and they average their gradients.
            loss = loss * self.accelerator.num_processes
        self._count(losses.detach(), outputs.is_top1, inputs)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> torch.Tensor | None:
        """Sum of all weights of a step, on all processes: what its loss is divided by."""
        if not batch_samples:
            return None
        total = torch.stack([batch["weights"][:, 1:].sum() for batch in batch_samples]).sum()
        gathered: torch.Tensor = self.accelerator.gather(total.to(device))
        return gathered.sum()

    def _count(self, losses: torch.Tensor, right: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Add to the sums of each part: loss, right predictions, tokens."""
        parts = inputs["parts"][:, 1:]
        found = torch.stack([losses.double(), right.double(), torch.ones_like(losses).double()])
        of_part = torch.stack([parts == part for part in range(len(PARTS))])
        sums = (found[None] * of_part[:, None]).sum(dim=(2, 3))
        mode = "train" if self.model.training else "eval"
        self._sums[mode] = self._sums.get(mode, torch.zeros_like(sums)) + sums

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each part's loss and accuracy."""
        mode = "train" if self.model.training else "eval"
        if mode in self._sums:
            sums = self.accelerator.reduce(self._sums.pop(mode), "sum").tolist()
            prefix = "eval_" if mode == "eval" else ""
            for part, (loss, right, count) in zip(PARTS, sums, strict=True):
                if count:
                    logs[f"{prefix}{part}_loss"] = loss / count
                    logs[f"{prefix}{part}_accuracy"] = right / count
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """The losses, and then the verdicts."""
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self._to_judge is not None:
            for key, value in agreement(self._judged(self._to_judge)).items():
                output.metrics[f"{metric_key_prefix}_{key}"] = value
        return output

    def _judged(self, asked: ToJudge) -> list[Judgement]:
        """Verdicts on all held-out rows, shared among the processes where each has the model."""
        model = self.accelerator.unwrap_model(self.model).get_base_model()
        reader = VerdictReader(model, self._base, asked.maker, self._dtype, asked.room)
        sharded = self.accelerator.distributed_type in (
            DistributedType.FSDP,
            DistributedType.DEEPSPEED,
        )
        # Sharded weights are gathered layer by layer: there all processes must do the same.
        n, k = (1, 0) if sharded else (self.args.world_size, self.args.process_index)
        self.model.eval()
        with self.accelerator.autocast():
            # Rows of the same pictures stay together: what they share is computed once.
            rows = sorted(asked.rows, key=lambda row: str(row.image_sources))
            found = reader.judge(rows[len(rows) * k // n : len(rows) * (k + 1) // n])
        if n == 1:
            return found
        from accelerate.utils import gather_object

        gathered: list[Judgement] = gather_object(found)
        return gathered


def sparing_gradients(model: Any, base: Base, checkpointing: bool) -> None:
    """Let gradients begin at the texts' embeddings only, unless pictures are learned from.

    For checkpointing, transformers makes the outputs of *all* embeddings require gradients, those
    of the vision tower's patches too: a frozen tower would be computed backwards for nothing.
    """
    tower = model.get_submodule(base.family.tower)
    if any(parameter.requires_grad for parameter in tower.parameters()):
        return
    if hasattr(model, "_require_grads_hooks"):
        model.disable_input_require_grads()
    if checkpointing:
        model.get_input_embeddings().register_forward_hook(_require_gradient)


def _require_gradient(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
    output.requires_grad_(True)
