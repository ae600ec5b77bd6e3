"""Optimisers by name, and the learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from geosr.errors import UsageError
from geosr.training.muon import Muon

OPTIMIZERS = ("adam", "adamw", "nadam", "muon")
SCHEDULES = ("cosine", "step", "plateau", "constant")


def optimizer(
    name: str, net: nn.Module, *, lr: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Adam, AdamW, Muon, or NAdam with Keras's momentum decay, as DSen2 was trained.

    Raises:
        UsageError: no such optimiser.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    if name == "adam":
        return torch.optim.Adam(trained, lr, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(trained, lr, weight_decay=weight_decay)
    if name == "muon":
        return Muon(net, lr, weight_decay=weight_decay)
    if name == "nadam":
        return torch.optim.NAdam(trained, lr, weight_decay=weight_decay, momentum_decay=4e-3)
    raise UsageError(f"unknown optimizer '{name}' (known: {', '.join(OPTIMIZERS)}).")


@dataclass
class Schedule:
    """The learning rate: a linear warm-up, then `kind`.

    Attributes:
        period: steps ("step") or validations without a gain ("plateau") until × `gamma`.
        factor, waited, best: what "plateau" has come to; saved with the training.
    """

    kind: str
    lr: float
    warmup: int = 0
    period: int = 5
    gamma: float = 0.5
    factor: float = 1.0
    waited: int = 0
    best: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise UsageError(f"unknown schedule '{self.kind}' (known: {', '.join(SCHEDULES)}).")

    def rate(self, step: int, done: float) -> float:
        """The rate of a step.

        Args:
            done: share of the training, 0 to 1, for the cosine.
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.kind == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
        if self.kind == "step":
            return self.lr * self.gamma ** (step // self.period)
        return self.lr * self.factor

    def checked(self, figure: float) -> None:
        """Take note of a validation's figure, the lower the better."""
        if figure < self.best:
            self.best, self.waited = figure, 0
            return
        self.waited += 1
        if self.kind == "plateau" and self.waited > self.period:
            self.factor, self.waited = self.factor * self.gamma, 0

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        kept = asdict(self)
        return {key: kept[key] for key in ("factor", "waited", "best")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another left off."""
        self.factor, self.waited, self.best = state["factor"], state["waited"], state["best"]
