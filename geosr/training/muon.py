"""Muon: steps along momentum whose directions all count alike.

The momentum of an inner weight, taken as a matrix (outputs × inputs · kernel), is brought near the
nearest orthogonal one by five Newton-Schulz iterations (Jordan et al. 2024), and scaled so that its
elements move as far as AdamW's would (Liu et al. 2025); rates for AdamW hold for it too. Biases,
and the first and last weights of the net, are AdamW's. torch.optim.Muon takes matrices only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_TERMS = (3.4445, -4.7750, 2.0315)  # of the iteration: singular values go to about 1
_ITERATIONS = 5
_LIKE_ADAMW = 0.2


class Muon(torch.optim.AdamW):
    """AdamW but for the inner weights of a net.

    Args:
        net: its trained parameters, first layer first.
    """

    def __init__(self, net: nn.Module, lr: float, *, weight_decay: float = 0.0) -> None:
        trained = [p for p in net.parameters() if p.requires_grad]
        super().__init__(trained, lr, weight_decay=weight_decay)
        self._inner = {id(p) for p in [p for p in trained if p.ndim >= 2][1:-1]}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the gradients of inner weights are gone after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if id(p) in self._inner and p.grad is not None:
                    self._move(p, group["lr"], group["weight_decay"])
                    p.grad = None  # AdamW leaves it out
        super().step()
        return loss

    def _move(self, p: Tensor, lr: float, weight_decay: float) -> None:
        grad, state = p.grad, self.state[p]
        assert grad is not None
        if not state:  # AdamW looks for the number of steps in every state that it loads
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(p))
        state["step"] += 1
        momentum = state["momentum"].lerp_(grad, 1 - _MOMENTUM)
        ahead = grad.lerp(momentum, _MOMENTUM).flatten(1)
        turned = orthogonal(ahead).view_as(p)
        reach = _LIKE_ADAMW * math.sqrt(max(ahead.shape))
        p.mul_(1 - lr * weight_decay).add_(turned, alpha=-lr * reach)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, and singular values of about one."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    a, b, c = _TERMS
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)
