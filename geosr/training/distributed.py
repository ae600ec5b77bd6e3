"""The processes that share a training, as `torchrun` starts them; one alone is the usual case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
        summed = tensor.detach().clone()
        distributed.all_reduce(summed)
        return summed

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
