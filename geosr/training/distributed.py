"""The processes that share a training, as `torchrun` starts them; one alone is the usual case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed.nn  # before any group: its defaults hold on to one, and to its threads
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from geosr.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among all of them.

    Attributes:
        local: number of this process on its machine, which is its GPU's.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def check(self, batch_size: int) -> None:
        """The global batch must divide among the processes.

        Raises:
            UsageError: it does not.
        """
        if batch_size % self.world:
            raise UsageError(
                f"a batch of {batch_size} does not divide among {self.world} processes. "
                "Change --batch-size."
            )

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world == 1:
            return tensor
        return _reduced(tensor)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, with its gradient."""
        if self.world == 1:
            return tensor
        summed: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
        return summed

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """Put the sum over all processes in the place of each tensor."""
        if self.world == 1:
            return
        whole = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(whole, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, here: bool, device: str) -> bool:
        """Whether it holds in any process."""
        return bool(self.total(torch.tensor(float(here), device=device)) > 0)

    def mean(self, here: float, device: str) -> float:
        """The mean over all processes, the same in each."""
        if self.world == 1:
            return here
        total = self.total(torch.tensor(here, dtype=torch.float64, device=device))
        return float(total) / self.world

    def share(self, net: nn.Module, device: str) -> nn.Module:
        """The net with gradients that are means over all processes."""
        if self.world == 1:
            return net
        ids = [torch.device(device)] if device.startswith("cuda") else None
        return DistributedDataParallel(net, device_ids=ids)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's part has the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _reduced(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _reduced(gradients[0])


def _reduced(tensor: Tensor) -> Tensor:
    summed = tensor.detach().clone()
    distributed.all_reduce(summed)
    return summed


@contextmanager
def joined(ranks: Ranks, device: str) -> Iterator[None]:
    """The process group, by the addresses that `torchrun` left in the environment."""
    if ranks.world == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
        distributed.barrier()  # none leaves while another still talks to it
    finally:
        distributed.destroy_process_group()
