"""A file's rows from top to bottom, each block decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.files import read_window
from geosr.raster.window import Window

_MOST_BEYOND = 2**26  # bytes of a block row that are kept beyond what was asked


@dataclass
class RowReader:
    """Reads windows of which each overlaps the one above it, in the same columns.

    Blocks have to be decoded whole. What they hold below a window is kept for the next one, and so
    are the rows that both have in common. Other windows are read as they come.

    Attributes:
        dataset: an open dataset.
        indexes: its bands, from 1.
        overlap: rows that a window has in common with the next one at most; with more, blocks are
            decoded again.
    """

    dataset: Any
    indexes: Sequence[int]
    overlap: int
    _top: int = 0  # of what is kept
    _columns: tuple[int, int] | None = None
    _kept: NDArray[Any] = field(default_factory=lambda: np.empty((0, 0, 0)))

    def read(self, window: Window) -> NDArray[Any]:
        """The bands in a window inside the raster, (bands, rows, cols).

        Raises:
            SceneError: a block cannot be decoded.
        """
        rows = self._rows(window)
        end = window.row + window.height
        first = max(end - self.overlap, window.row)
        self._top, self._columns = first, (window.col, window.width)
        self._kept = rows[:, first - window.row :].copy()  # a view would keep all of them
        return rows[:, : window.height]

    def _rows(self, window: Window) -> NDArray[Any]:
        """The window's rows, and those below it that its blocks hold."""
        kept, end = self._taken(window), window.row + window.height
        start = window.row + kept.shape[1]
        if start >= end:
            return kept
        more = window._replace(row=start, height=self._block_end(end, window.width) - start)
        read = read_window(self.dataset, self.indexes, more)
        return np.concatenate([kept, read], axis=1) if kept.size else read

    def _taken(self, window: Window) -> NDArray[Any]:
        """What is kept from the window's first row on; it is let go of."""
        first, kept = window.row - self._top, self._kept
        goes_on = self._columns == (window.col, window.width) and 0 <= first <= kept.shape[1]
        self._kept = kept[:0, :0]
        return kept[:, first:] if goes_on else kept[:, :0]

    def _block_end(self, end: int, width: int) -> int:
        """Where the block that holds row `end` - 1 ends, unless that is far."""
        index, bands = self.indexes[0] - 1, len(self.indexes)
        block = self.dataset.block_shapes[index][0]
        last = min(-(-end // block) * block, self.dataset.height)
        size = (last - end) * width * bands * np.dtype(self.dataset.dtypes[index]).itemsize
        return last if size <= _MOST_BEYOND else end
