"""Degraded regions of scenes in memory, which windows are drawn from.

To degrade every window by itself, and to find again what no weight has a part in, costs several
times what a small net learns from it. A pool holds regions that were degraded once; each lives for
some steps and gives way to another, so that all scenes have their turn, whatever they weigh.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

BUDGET = 2**30  # bytes of all regions
LIFE = 4000  # steps
SIDE = 512  # pixels of truth along a region, at most
_AHEAD = 100  # steps before its first one a region is begun
_THREADS = 8
_MOST = 256  # regions


@dataclass(frozen=True)
class Region:
    """Degraded bands by GSD and their truth, (bands, rows, cols) each, on the training's device."""

    inputs: Mapping[int, Tensor]
    target: Tensor
    mask: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(x.nbytes for x in (*self.inputs.values(), self.target, self.mask))

    def crop(self, row: int, col: int, side: int) -> Region:
        """The part with that corner and side, in pixels of the truth."""

        def cut(x: Tensor) -> Tensor:
            first, last = (n * x.shape[-1] // self.target.shape[-1] for n in (col, col + side))
            top, bottom = (n * x.shape[-2] // self.target.shape[-2] for n in (row, row + side))
            return x[..., top:bottom, first:last]

        return self._map(cut)

    def turned(self, k: int) -> Region:
        """One of the eight flips and rotations of rows and columns, as for samples."""

        def turn(x: Tensor) -> Tensor:
            rotated = torch.rot90(x, k % 4, (-2, -1))
            return rotated.flip(-1) if k >= 4 else rotated

        return self._map(turn)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Region:
        inputs = {key: change(x) for key, x in self.inputs.items()}
        return Region(inputs, change(self.target), change(self.mask))


class Pool:
    """Regions by number; which one lives at a step depends on the step alone.

    Args:
        make: gives generation `n` of region `i`.
        count: how many regions live at a time.
    """

    def __init__(self, make: Callable[[int, int], Region], count: int, *, life: int = LIFE) -> None:
        self.make, self.count, self.life = make, count, life
        self._living: dict[int, tuple[int, Future[Region]]] = {}
        self._next: dict[tuple[int, int], Future[Region]] = {}
        threads = min(os.cpu_count() or 1, _THREADS)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="degrade")

    def __call__(self, number: int, step: int) -> Region:
        """The region of that number which lives at a step."""
        generation = self.generation(number, step)
        if self._living.get(number, (-1, None))[0] != generation:
            self._living[number] = generation, self._begun(number, generation)
        return self._living[number][1].result()

    def look_ahead(self, step: int) -> None:
        """Begin the regions that are to live soon after a step."""
        for number in range(self.count):
            generation = self.generation(number, step + _AHEAD)
            living = self._living.get(number, (-1, None))[0]
            if living < generation and (number, generation) not in self._next:
                future = self._threads.submit(self.make, number, generation)
                self._next[number, generation] = future

    def generation(self, number: int, step: int) -> int:
        """How often a region has given way to another; they take turns."""
        return (step + number * self.life // self.count) // self.life

    def close(self) -> None:
        """Let everything go."""
        self._threads.shutdown(cancel_futures=True)
        self._living.clear()
        self._next.clear()

    def _begun(self, number: int, generation: int) -> Future[Region]:
        for key in [key for key in self._next if key[0] == number and key[1] < generation]:
            self._next.pop(key).cancel()
        waiting = self._next.pop((number, generation), None)
        return waiting or self._threads.submit(self.make, number, generation)


def count(pixels: float, bytes_each: float) -> int:
    """How many regions of that many pixels of truth find room."""
    return int(min(max(BUDGET // max(pixels * bytes_each, 1), 2), _MOST))
