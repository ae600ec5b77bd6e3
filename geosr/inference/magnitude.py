"""How far two dates lie apart, pixel by pixel, where brightness is no difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _OUTLYING = 6, 2.5  # of a robust line; deviations beyond which a pixel does not count
_NORMAL = 1.4826  # deviation of a normal distribution, by its median absolute deviation
_BINS, _TOP = 256, 99.9  # of Otsu's histogram; percentile where it ends

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """A map of changes beside a known one, by pixels."""

    right: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.false + other.false, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Of what is told as changed, the share that did."""
        return self.right / max(self.right + self.false, 1)

    @property
    def recall(self) -> float:
        """Of what changed, the share that is told."""
        return self.right / max(self.right + self.missed, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.right / max(2 * self.right + self.false + self.missed, 1)

    @property
    def iou(self) -> float:
        """What both call changed, as a share of what either does."""
        return self.right / max(self.right + self.false + self.missed, 1)


@dataclass(frozen=True)
class Scale:
    """By band: the line that brings the second date to the first, and what is left over (σ)."""

    gain: Array
    offset: Array
    spread: Array

    def magnitude(self, a: Array, b: Array) -> Array:
        """(rows, cols) of two dates (bands, rows, cols)."""
        left = a - self.gain[:, None, None] * b - self.offset[:, None, None]
        return np.asarray(np.sqrt(((left / self.spread[:, None, None]) ** 2).sum(0)), np.float32)


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """y ≈ gain · x + offset of the pixels that follow it, and the spread around it."""
    keep = np.ones(len(x), bool)
    gain, offset, spread = 1.0, 0.0, 1.0
    for _ in range(_ROUNDS):
        own = x[keep] - x[keep].mean()
        varied = float(own @ own)
        gain = float(own @ y[keep]) / varied if varied else 1.0
        offset = float(y[keep].mean() - gain * x[keep].mean())
        left = y - gain * x - offset
        spread = max(_NORMAL * float(np.median(np.abs(left - np.median(left)))), 1.0)
        keep = np.abs(left) <= _OUTLYING * spread
        if not keep.any():
            break
    return gain, offset, spread


def otsu(values: Array) -> float:
    """The threshold that parts values above 0 into two classes best (Otsu 1979)."""
    top = float(np.percentile(values, _TOP)) or 1.0
    counts, edges = np.histogram(np.minimum(values, top), _BINS, (0.0, top))
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * apart**2)
    return float(edges[1:][int(np.argmax(between))])
