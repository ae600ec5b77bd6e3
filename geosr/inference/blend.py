"""Tile predictions to finished strips; at every pixel the weights of all tiles sum to one."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from geosr.inference.tiles import Span, Tile, TileGrid
from geosr.raster.lattice import Lattice


class Blender:
    """Joins predictions row by row of tiles; memory is one row of tiles, never the scene.

    A tile's weight along an axis is the ramp at its first seam minus the ramp at its last, so
    neighbours telescope to one without division or counting. Ramp 0 is a hard cut at the seam,
    exact for nets whose margin was read around the tile.

    Args:
        grid: the tiles, in the coarsest input's pixels.
        scale: output pixels along one of those; where it is no whole number, each output pixel
            belongs to the input pixel that its centre lies in.
        ramp: half the width of the ramp, in those pixels; predictions begin with the first output
            pixel of the tile's window grown by `ramp`, and cover that or more.
    """

    def __init__(self, grid: TileGrid, scale: float, ramp: int = 0) -> None:
        self.grid, self.ramp = grid, ramp
        self.rows = Lattice(grid.window.height, scale)
        self.cols = Lattice(grid.window.width, scale)
        self._carry: NDArray[np.float32] | None = None  # rows begun by the last strip

    def add(self, strip: Iterable[tuple[Tile, NDArray[np.float32]]]) -> NDArray[np.float32]:
        """Take one row of tiles; return the rows (bands, n, width) it finishes."""
        rows, edge = None, self.rows.edge
        for tile, prediction in strip:
            down = self.grid.rows[tile.row]
            top, bottom = _support(down, self.ramp, self.grid.window.height)
            if rows is None:
                shape = len(prediction), edge(bottom) - edge(top), len(self.cols)
                rows = _zeros_apart(shape)
            self._place(rows, tile, prediction)
            del prediction  # it is large, and the next one is made now
        assert rows is not None
        if self._carry is not None:
            rows[:, : self._carry.shape[1]] += self._carry
        last = down.last == self.grid.window.height
        finished = bottom if last else down.last - self.ramp
        cut = edge(finished) - edge(top)
        self._carry = None if last else rows[:, cut:].copy()
        return rows[:, :cut]

    def _place(
        self, rows: NDArray[np.float32], tile: Tile, prediction: NDArray[np.float32]
    ) -> None:
        """Add one weighted tile; `rows` starts where the tile's own support does."""
        weights, cuts = [], []
        columns = slice(0, 0)
        spans = (self.grid.rows[tile.row], self.grid.cols[tile.col])
        for span, axis in zip(spans, (self.rows, self.cols), strict=True):
            first, last = (axis.edge(at) for at in _support(span, self.ramp, axis.extent))
            start = axis.edge(span.start - self.ramp)
            columns = slice(first, last)
            cuts.append(slice(first - start, last - start))
            weights.append(_weights(span, self.ramp, axis))
        part = prediction[:, cuts[0], cuts[1]]
        if self.ramp:
            part = part * (weights[0][:, None] * weights[1])
        rows[:, :, columns] += part


def _zeros_apart(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros in pages of their own, which the system gets back with the array.

    In the heap, rows that wait for the next tile lie amid what a net's pass has left, and the next
    pass does not fit in there.
    """
    count = math.prod(shape)
    pages = mmap.mmap(-1, max(count * np.dtype(np.float32).itemsize, 1))
    return np.frombuffer(pages, np.float32, count).reshape(shape)


def _support(span: Span, ramp: int, extent: int) -> tuple[int, int]:
    """Where a tile has weight along one axis."""
    return max(span.first - ramp, 0), min(span.last + ramp, extent)


def _weights(span: Span, ramp: int, axis: Lattice) -> NDArray[np.float32]:
    """The tile's weight at every output pixel of its support along one axis."""
    first, last = _support(span, ramp, axis.extent)
    scale = axis.scale
    centres = np.arange(axis.edge(first), axis.edge(last), dtype=np.float64) + 0.5
    up = (
        np.ones(len(centres))
        if span.first == 0
        else _ramp(centres, span.first * scale, ramp * scale)
    )
    down = _ramp(centres, span.last * scale, ramp * scale) if span.last < axis.extent else 0.0
    return np.asarray(up - down, np.float32)


def _ramp(at: NDArray[np.float64], seam: float, half: float) -> NDArray[np.float64]:
    """0 before the seam, 1 after it, linear over `half` pixels on both sides."""
    if not half:
        return (at >= seam).astype(np.float64)
    return np.clip((at - seam + half) / (2 * half), 0.0, 1.0)
