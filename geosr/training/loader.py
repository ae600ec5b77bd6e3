"""Batches for a training: made ahead while the last one is learnt."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geosr.training.datasets import Sample, Windows
from geosr.training.distributed import Ranks


@dataclass(frozen=True)
class Batch:
    """Samples stacked; `broken` names the images found unreadable so far, with the reason."""

    inputs: Mapping[int, Tensor]
    target: Tensor
    mask: Tensor
    broken: Mapping[str, str] = field(default_factory=dict)

    def to(self, device: str) -> Batch:
        """On a device; from pinned memory without waiting."""
        if device == "cpu":
            return self
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        target = self.target.to(device, non_blocking=True)
        return Batch(inputs, target, self.mask.to(device, non_blocking=True), self.broken)

    def pin_memory(self) -> Batch:
        """The same in page-locked memory."""
        inputs = {k: v.pin_memory() for k, v in self.inputs.items()}
        return Batch(inputs, self.target.pin_memory(), self.mask.pin_memory(), self.broken)


def stack(samples: Sequence[Sample], broken: Mapping[str, str] | None = None) -> Batch:
    """Samples of one shape as one batch."""

    def one(arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Batch(
        {gsd: one([s.inputs[gsd] for s in samples]) for gsd in samples[0].inputs},
        one([s.target for s in samples]),
        one([s.mask for s in samples]),
        dict(broken or {}),
    )


@dataclass
class Steps(Dataset[Batch]):
    """This process's part of the batch of every step."""

    windows: Windows[Any]
    batch_size: int
    ranks: Ranks

    def __getitem__(self, step: int) -> Batch:
        mine = range(self.ranks.rank, self.batch_size, self.ranks.world)
        samples = [self.windows.sample(step, i) for i in mine]
        return stack(samples, self.windows.broken)


class Feed:
    """Batches from a step on; tells the share of time that was spent waiting for them.

    Args:
        workers: processes that make batches; 0 is one thread beside the training.
    """

    def __init__(self, steps: Steps, *, workers: int = 0, pinned: bool = False) -> None:
        self.steps, self.workers, self.pinned = steps, workers, pinned
        self.waited = 0.0
        self._since = time.monotonic()

    @property
    def waiting(self) -> float:
        """Share of the time since the start that went into waiting."""
        return self.waited / max(time.monotonic() - self._since, 1e-9)

    def __call__(self, numbers: range) -> Iterator[tuple[int, Batch]]:
        """Number and batch of every step in `numbers`."""
        self._since, self.waited = time.monotonic(), 0.0
        made = iter(self._loader(numbers) if self.workers else self._threaded(numbers))
        for number in numbers:
            before = time.monotonic()
            batch = next(made)
            self.waited += time.monotonic() - before
            yield number, batch

    def _loader(self, numbers: range) -> Iterable[Batch]:
        return DataLoader(
            self.steps,
            batch_size=None,
            sampler=numbers,
            num_workers=self.workers,
            pin_memory=self.pinned,
            prefetch_factor=4,
            multiprocessing_context="spawn",
        )

    def _threaded(self, numbers: range) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.steps.__getitem__, numbers.start)
            for number in numbers:
                batch = ahead.result()
                if number + 1 < numbers.stop:
                    ahead = pool.submit(self.steps.__getitem__, number + 1)
                yield batch.pin_memory() if self.pinned else batch
