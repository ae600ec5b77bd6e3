"""Outputs that their own sensor would have seen exactly as the input: back-projection in one step.

    x + Dᵀ (D Dᵀ)⁻¹ (y - D x)

Of all images that D makes into the input y this is the nearest to x. D is the band's own
point spread, which works along rows and columns one after the other, and so does the inverse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

REACH = 12  # coarse pixels beyond which a tile's edge no longer matters
TV_TV = "tv-tv"
REFINEMENTS = (TV_TV,)  # what else may be done beyond the projection
REFINED = 32  # output pixels beyond which it no longer matters there

Array = NDArray[np.float32]


@dataclass
class Change:
    """How much a band was changed, in counts of 10000 to 1.0."""

    squares: float = 0.0
    pixels: int = 0
    largest: float = 0.0

    def add(self, other: Change) -> None:
        """Count another part of the band."""
        self.squares += other.squares
        self.pixels += other.pixels
        self.largest = max(self.largest, other.largest)

    @property
    def rmse(self) -> float:
        """Root mean square of the change; 0 where nothing was."""
        return (self.squares / self.pixels) ** 0.5 if self.pixels else 0.0


def change(before: Array, after: Array) -> Change:
    """The difference of two versions of a band."""
    by = after.astype(np.float64) - before
    return Change(float((by**2).sum()), by.size, float(np.abs(by).max(initial=0.0)))


@dataclass(frozen=True)
class Sensor:
    """How a band of one size is seen: D works along rows and columns one after the other.

    Arrays or tensors of its images, (factor · rows, factor · cols) and (rows, cols).

    Attributes:
        down, across: D along rows and along columns.
        up, back: Dᵀ (D Dᵀ)⁻¹ along each.
    """

    down: Any
    across: Any
    up: Any
    back: Any

    @classmethod
    def of(cls, shape: tuple[int, int], factor: int, taps: Sequence[float]) -> Sensor:
        """Of coarse images of that (height, width), by a point spread's taps in fine pixels."""
        (down, up), (across, back) = (_operator(size, factor, tuple(taps)) for size in shape)
        return cls(down, across.T, up, back.T)

    def project(self, estimate: Any, low: Any) -> Any:
        """The image nearest to `estimate` that is seen as `low`."""
        return estimate + self.up @ (low - self.down @ estimate @ self.across) @ self.back


def project(estimate: Array, low: Array, taps: Sequence[Sequence[float]]) -> Array:
    """The image nearest to `estimate` that degrades to `low`.

    Args:
        estimate: (bands, factor · rows, factor · cols).
        low: (bands, rows, cols) of the same bands.
        taps: by band, of its point spread in pixels of `estimate`.
    """
    return np.stack([sensor.project(fine, coarse)
                     for sensor, fine, coarse in sensors(estimate, low, taps)])  # fmt: skip


def sensors(
    estimate: Array, low: Array, taps: Sequence[Sequence[float]]
) -> Iterator[tuple[Sensor, Array, Array]]:
    """How every band is seen, with its fine and its coarse image."""
    rows, cols = low.shape[1:]
    for fine, coarse, own in zip(estimate, low, taps, strict=True):
        yield Sensor.of((rows, cols), estimate.shape[1] // rows, own), fine, coarse


@lru_cache(maxsize=32)
def _operator(size: int, factor: int, taps: tuple[float, ...]) -> tuple[Array, Array]:
    """D along one axis, (size, factor · size), edges mirrored, and Dᵀ (D Dᵀ)⁻¹."""
    beyond = (len(taps) - factor) // 2
    padded = np.pad(np.eye(factor * size), ((beyond, beyond), (0, 0)), mode="symmetric")
    down = np.stack([np.array(taps) @ padded[i * factor :][: len(taps)] for i in range(size)])
    up = np.linalg.solve(down @ down.T, down).T
    return down.astype(np.float32), np.ascontiguousarray(up, np.float32)
