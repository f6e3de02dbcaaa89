"""Muon: momentum steps whose matrices are made orthogonal, all of one shape at once.

The tower needs half as many pictures with it as with AdamW (``docs/experiments.md``). The steps
are those of `torch.optim.Muon`, which loops over the matrices: a thousand kernels a step for the
tower, and launching them takes longer than the tower itself. Here equal shapes are stacked.

Source: https://kellerjordan.github.io/posts/muon/; the rate's scale from arXiv:2502.16982.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that pushes all singular values towards 1."""
ITERATIONS = 5
MOMENTUM = 0.95
ADAM_RMS = 0.2
"""Root mean square that AdamW's updates have about, so that both take the same rates."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        params: matrices, or groups of them with rates of their own.
        lr: learning rate, on AdamW's scale.
        weight_decay: in units of the rate.

    Raises:
        ValueError: a parameter is not a matrix.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, weight_decay: float = 0.02):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon takes matrices, not shape {tuple(parameter.shape)}")

    @torch.no_grad()
    # torch's own takes a closure in an overload, and gives its loss back.
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            alike: defaultdict[tuple[torch.Size, torch.device], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape, parameter.device].append(parameter)
            for parameters in alike.values():
                self._update(parameters, group["lr"], group["weight_decay"])

    def _update(self, parameters: list[Tensor], rate: float, weight_decay: float) -> None:
        momenta = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momenta.append(state["momentum"])
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)
        updates = orthogonalised(torch.stack(ahead)).to(parameters[0].dtype)
        scale = ADAM_RMS * max(parameters[0].shape) ** 0.5
        torch._foreach_mul_(parameters, 1 - rate * weight_decay)
        torch._foreach_add_(parameters, list(updates.unbind()), alpha=-rate * scale)


def orthogonalised(matrices: Tensor) -> Tensor:
    """(n, a, b) matrices with all singular values brought near 1 (0.7 to 1.2), in bfloat16."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
