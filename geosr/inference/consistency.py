"""Outputs that their own sensor would have seen exactly as the input: back-projection in one step.

    x + Dᵀ (D Dᵀ)⁻¹ (y - D x)

Of all images that D makes into the input y this is the nearest to x. D is the band's own
point spread, which works along rows and columns one after the other, and so does the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geosr.scene import degrade

REACH = 12  # coarse pixels beyond which a tile's edge no longer matters

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


def project(estimate: Array, low: Array, names: Sequence[str], gsd: float) -> Array:
    """The image nearest to `estimate` that degrades to `low`.

    Args:
        estimate: (bands, factor · rows, factor · cols).
        low: (bands, rows, cols) of the same bands.
        names: of the bands; they tell the point spread.
        gsd: metres of a pixel of `estimate`.
    """
    factor = estimate.shape[1] // low.shape[1]
    result = np.empty_like(estimate)
    for i, name in enumerate(names):
        taps = tuple(degrade.of_band(name, factor, gsd))
        down, up = _operator(low.shape[1], factor, taps)
        across, back = _operator(low.shape[2], factor, taps)
        missing = low[i] - down @ estimate[i] @ across.T
        result[i] = estimate[i] + up @ missing @ back.T
    return result


@lru_cache(maxsize=32)
def _operator(size: int, factor: int, taps: tuple[float, ...]) -> tuple[Array, Array]:
    """D along one axis, (size, factor · size), edges mirrored, and Dᵀ (D Dᵀ)⁻¹."""
    beyond = (len(taps) - factor) // 2
    padded = np.pad(np.eye(factor * size), ((beyond, beyond), (0, 0)), mode="symmetric")
    down = np.stack([np.array(taps) @ padded[i * factor :][: len(taps)] for i in range(size)])
    up = np.linalg.solve(down @ down.T, down).T
    return down.astype(np.float32), np.ascontiguousarray(up, np.float32)
