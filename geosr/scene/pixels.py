"""Pixels as they are read, who reads them, and how windows go on past a raster's edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.raster.grid import Grid
from geosr.raster.window import Window


@dataclass(frozen=True)
class Pixels:
    """Counts and what they are worth; every array is (bands, rows, cols).

    Attributes:
        values: in the file's own type, float32 where block means were taken.
        valid: a number was sensed: neither nodata nor NaN.
        mask: the file's own mask and the band's quality allow it (all True where there is none).
        saturated: the detector was full; the number says only "bright".
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    saturated: NDArray[np.bool_]

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Pixels:
        """The same change made to all four arrays."""
        return Pixels(
            change(self.values), change(self.valid), change(self.mask), change(self.saturated)
        )

    def crop(self, at: tuple[slice, slice]) -> Pixels:
        """The part in these rows and columns."""
        return self.map(lambda array: array[:, *at])

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Worth feeding to a net as it is."""
        return self.valid & self.mask & ~self.saturated

    @property
    def sensed(self) -> NDArray[np.bool_]:
        """Neither nodata nor masked; saturated pixels were sensed."""
        return self.valid & self.mask


class Reader(Protocol):
    """What inference, scoring and training need of a scene's pixels."""

    @property
    def grids(self) -> Mapping[int, Grid]:
        """Native grid by GSD."""
        ...

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands `names` in `window` of the grid of `gsd`."""
        ...

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Whether a file of these bands has a mask of its own."""
        ...


@dataclass(frozen=True)
class Fold:
    """Symmetric padding as indices: which pixels to read, and how to lay them out.

    Attributes:
        hull: the window to read, inside the raster.
        index: rows and columns within `hull`, edges repeated as numpy's "symmetric" does, for
            any reach and down to an extent of one pixel.
    """

    hull: Window
    index: tuple[NDArray[np.int64], NDArray[np.int64]]

    def take(self, pixels: Pixels) -> Pixels:
        """Pixels of `hull`, laid out as the folded window."""
        rows, cols = (at.ravel() for at in self.index)
        if (len(rows), len(cols)) == self.hull[2:] and not rows[0] and not cols[0]:
            return pixels  # every pixel once and in order: nothing is folded
        return pixels.map(lambda array: array[:, *self.index])


def fold(window: Window, height: int, width: int) -> Fold:
    """Fold a window that may reach past the edges back into `height` × `width` pixels."""
    rows = _folded(window.row, window.height, height)
    cols = _folded(window.col, window.width, width)
    top, left = int(rows.min()), int(cols.min())
    hull = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
    return Fold(hull, (rows[:, None] - top, cols[None] - left))


def _folded(first: int, count: int, extent: int) -> NDArray[np.int64]:
    at = np.arange(first, first + count) % (2 * extent)
    return np.minimum(at, 2 * extent - 1 - at)
