"""Batches for a training: prepared while the net learns from the last one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from geosr.training.datasets import Batch, Windows
from geosr.training.distributed import Ranks


@dataclass
class Steps(Dataset[Batch]):
    """This process's part of the batch of every step."""

    windows: Windows[Any]
    batch_size: int
    ranks: Ranks

    def __getitem__(self, step: int) -> Batch:
        return self.windows.batch(step, range(self.ranks.rank, self.batch_size, self.ranks.world))


class Loader:
    """Batches from a step on; tells the share of time that was spent waiting for them.

    Args:
        workers: processes that make batches; 0 is one thread beside the training, as it is
            wherever windows are drawn from memory.
    """

    def __init__(self, steps: Steps, *, workers: int = 0, pinned: bool = False) -> None:
        self.steps, self.pinned = steps, pinned
        self.workers = 0 if steps.windows.pooled else workers
        self.waited = 0.0
        self._since = time.monotonic()

    @property
    def waiting(self) -> float:
        """Share of the time since the start that went into waiting."""
        return self.waited / max(time.monotonic() - self._since, 1e-9)

    def __call__(self, numbers: range) -> Iterator[tuple[int, Batch]]:
        """Number and batch of every step in `numbers`."""
        self._since, self.waited = time.monotonic(), 0.0
        batches = iter(self._loader(numbers) if self.workers else self._threaded(numbers))
        for number in numbers:
            before = time.monotonic()
            batch = next(batches)
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
            upcoming = pool.submit(self.steps.__getitem__, numbers.start)
            for number in numbers:
                batch = upcoming.result()
                if number + 1 < numbers.stop:
                    upcoming = pool.submit(self.steps.__getitem__, number + 1)
                yield batch.pin_memory() if self.pinned else batch
