"""A small copy of a raster by means of blocks, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.files import read_mask, read_window
from geosr.raster.window import Window

_ROWS = 256  # of the raster at a time, about


def thumbnail(
    dataset: Any, indexes: Sequence[int], longest: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bands of an open dataset with at most `longest` pixels along a side.

    Every pixel is the mean of the valid ones in a square; the last squares may be cut.

    Args:
        indexes: of the bands, from 1.

    Returns:
        (bands, rows, cols), and where all of them are valid somewhere in the square.

    Raises:
        SceneError: a block cannot be decoded.
    """
    side = -(-max(dataset.shape) // longest)
    step = max(_ROWS // side, 1) * side
    parts = [
        _means(
            dataset, indexes, Window(row, 0, min(step, dataset.height - row), dataset.width), side
        )
        for row in range(0, dataset.height, step)
    ]
    return np.concatenate([p[0] for p in parts], 1), np.concatenate([p[1] for p in parts])


def _means(
    dataset: Any, indexes: Sequence[int], window: Window, side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values = read_window(dataset, indexes, window)
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if dataset.nodata is not None:
        valid &= values != dataset.nodata
    mask = read_mask(dataset, window)
    if mask is not None:
        valid &= mask
    sums = _sums(np.where(valid, values, 0).astype(np.float32), side)
    counts = _sums(valid.astype(np.float32), side)
    means = sums / np.maximum(counts, 1)
    return means.astype(np.float32), np.asarray((counts > 0).all(0))


def _sums(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Sums over squares; what is missing of the last ones counts as 0."""
    bands, rows, cols = values.shape
    wide = np.pad(values, ((0, 0), (0, -rows % side), (0, -cols % side)))
    high, across = wide.shape[1] // side, wide.shape[2] // side
    return wide.reshape(bands, high, side, across, side).sum((2, 4), dtype=np.float32)
