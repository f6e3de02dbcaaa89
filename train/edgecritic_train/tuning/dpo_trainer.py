"""TRL's DPOTrainer over critic pairs, in two rows or with one shared prefix."""

from __future__ import annotations

from typing import Any

import torch
from trl import DPOTrainer
from trl.trainer.utils import use_adapter

from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.branches import attention_mask, branch_positions
from edgecritic_train.tuning.guard import Guarded
from edgecritic_train.tuning.pairs import CHOSEN, REJECTED
from edgecritic_train.tuning.trainer import sparing_gradients


class PreferenceTrainer(Guarded, DPOTrainer):  # type: ignore[misc]  # TRL has no types
    """Trains on batches of `PairCollator`.

    The reference is the adapter that the run started from, kept as TRL's second adapter.

    Args:
        base: that the model was loaded from.
        dtype: of the vision tower.
        shared: the batches share their prefixes.
    """

    def __init__(
        self, *args: Any, base: Base, dtype: torch.dtype, shared: bool, **kwargs: Any
    ) -> None:
        self._base, self._dtype, self._shared = base, dtype, shared
        super().__init__(*args, **kwargs)
        sparing_gradients(self.model.get_base_model(), base, self.args.gradient_checkpointing)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The collator prepares rows; here are their numbers only."""
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if self._shared:
            return self._shared_loss(model, inputs)
        tensors = {key: value for key, value in inputs.items() if key != "shown"}
        pictures = inputs["shown"].pictures
        seen = self._base.eye.inputs(pictures, inputs["input_ids"], self._dtype)
        return super()._compute_loss(model, {**tensors, **seen}, return_outputs)

    def _shared_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """DPO's loss of one pair (arXiv:2305.18290, equation 7)."""
        forward = self.shared_inputs(inputs)
        logps = self.branch_logps(model, forward, inputs["branches"])
        unwrapped = self.accelerator.unwrap_model(self.model)
        with torch.no_grad(), use_adapter(unwrapped, adapter_name="ref"):
            reference = self.branch_logps(self.model, forward, inputs["branches"])
        rewards = self.beta * (logps - reference)
        loss = -torch.nn.functional.logsigmoid(rewards[0] - rewards[1])
        self._note(rewards.detach(), logps.detach())
        return loss

    def shared_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the model takes for ``[prompt | chosen | rejected]``."""
        tokens, branches = inputs["input_ids"], inputs["branches"]
        seen = self._base.eye.inputs(inputs["shown"].pictures, tokens, self._dtype)
        base_model = self.accelerator.unwrap_model(self.model).get_base_model()
        attention = base_model.config._attn_implementation
        return {
            **seen,
            "input_ids": tokens,
            "position_ids": branch_positions(self._base.eye, base_model, tokens, branches, seen),
            "attention_mask": attention_mask(branches, attention, self._dtype),
            "shift_labels": inputs["next_ids"],
            "fused_lm_head": True,
        }

    def branch_logps(
        self, model: Any, forward: dict[str, Any], branches: torch.Tensor
    ) -> torch.Tensor:
        """(2,) log-probabilities of the chosen and of the rejected answer."""
        per_token = model(**forward).log_probs
        return torch.stack(
            [(per_token * (branches == branch)).sum() for branch in (CHOSEN, REJECTED)]
        )

    def _note(self, rewards: torch.Tensor, logps: torch.Tensor) -> None:
        """Metrics by TRL's names."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        noted = {
            "rewards/chosen": rewards[0],
            "rewards/rejected": rewards[1],
            "rewards/accuracies": (rewards[0] > rewards[1]).float(),
            "rewards/margins": rewards[0] - rewards[1],
            "logps/chosen": logps[0],
            "logps/rejected": logps[1],
        }
        for name, value in noted.items():
            metrics[name].append(self.accelerator.gather(value).mean().item())
