"""Pixels of an output along an input, any number of them to an input pixel.

The rule of output grids, whole-number scales being a case of it. Along an axis of n input pixels,
made `scale` times finer:

* the output begins where the input begins, and a pixel of it has the size of an input pixel
  divided by `scale`, exactly;
* it has ceil(n · scale) pixels, so that it covers the input: the last one may reach beyond the
  input's edge, by less than its own size;
* an output pixel belongs to the input pixel that its centre lies in, and one whose centre lies
  beyond the edge to the last one. By that it is masked, and made by the tile that owns it.

Less than a millionth of a pixel is taken for noise of floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.raster.window import Window

TOLERANCE = 1e-6  # output pixels


def finer_count(count: int, scale: float) -> int:
    """Output pixels along `count` input pixels."""
    return math.ceil(count * scale - TOLERANCE)


def coarser_count(count: int, scale: float) -> int:
    """Whole pixels, `scale` times coarser, along `count`; a remainder is dropped."""
    return math.floor(count / scale + TOLERANCE)


@dataclass(frozen=True)
class Lattice:
    """Output pixels along one axis of `extent` input pixels."""

    extent: int
    scale: float

    def __len__(self) -> int:
        return finer_count(self.extent, self.scale)

    def edge(self, at: int) -> int:
        """The first output pixel that belongs to input pixel `at` or a later one.

        Beyond the last input pixel it is the number of output pixels, or as if the input went on.
        """
        first = math.ceil(at * self.scale - 0.5 - TOLERANCE)
        return first if at < self.extent else max(first, len(self))

    def centre(self, i: int) -> float:
        """Where output pixel i has its centre, in input pixels from the centre of the first."""
        return (i + 0.5) / self.scale - 0.5

    def under(self, start: int, stop: int) -> NDArray[np.int64]:
        """The input pixels that output pixels `start` to `stop` belong to."""
        at = np.floor((np.arange(start, stop) + 0.5 + TOLERANCE) / self.scale)
        return np.clip(at, 0, self.extent - 1).astype(np.int64)


def finer_window(window: Window, within: Window, scale: float) -> Window:
    """The output pixels that belong to a window, where the output is that of `within`."""
    rows, cols = Lattice(within.height, scale), Lattice(within.width, scale)
    top, left = rows.edge(window.row - within.row), cols.edge(window.col - within.col)
    bottom = rows.edge(window.row - within.row + window.height)
    right = cols.edge(window.col - within.col + window.width)
    return Window(top, left, bottom - top, right - left)
