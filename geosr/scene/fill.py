"""Numbers where nothing was sensed, for nets that need some; nothing of it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fill(values: NDArray[Any], usable: NDArray[np.bool_], reach: int) -> NDArray[np.float32]:
    """Grow the usable pixels into the gaps, one ring of 3 × 3 means after the other.

    Args:
        values: (bands, rows, cols) counts.
        usable: same shape; False is a gap.
        reach: rings to fill; deeper gaps become 0, out of any net's sight. A filled pixel
            depends on pixels at most `reach` away, so tiles and whole scenes agree.

    Returns:
        float32, with usable pixels untouched.
    """
    filled = np.where(usable, values, np.float32(0)).astype(np.float32, copy=False)
    if usable.all():
        return filled
    for band, known in zip(filled, usable, strict=True):
        _grow(band, known.copy(), reach)
    return filled


def _grow(band: NDArray[np.float32], known: NDArray[np.bool_], reach: int) -> None:
    """Fill `band` in place, ring by ring; only the pixels of a ring are touched."""
    gaps = ~known
    ring = np.argwhere(gaps & _near(known)) if known.any() else np.empty((0, 2), np.intp)
    for _ in range(reach):
        if not ring.size:
            return
        total, count = _neighbours(band, known, ring)
        band[ring[:, 0], ring[:, 1]] = total / count
        known[ring[:, 0], ring[:, 1]] = True
        ring = _next_ring(ring, known)


def _near(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a known pixel among their eight neighbours, or themselves."""
    padded = np.pad(known, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])


_AROUND = np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)])


def _neighbours(
    band: NDArray[np.float32], known: NDArray[np.bool_], ring: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the known neighbours of every pixel of the ring."""
    total, count = np.zeros(len(ring)), np.zeros(len(ring), np.int64)
    for step in _AROUND:
        at = ring + step
        inside = ((at >= 0) & (at < band.shape)).all(1)
        rows, cols = at[inside].T
        there = known[rows, cols]
        total[inside] += np.where(there, band[rows, cols], 0)
        count[inside] += there
    return total, count


def _next_ring(ring: NDArray[np.intp], known: NDArray[np.bool_]) -> NDArray[np.intp]:
    around = (ring[:, None] + _AROUND).reshape(-1, 2)
    around = around[((around >= 0) & (around < known.shape)).all(1)]
    around = around[~known[around[:, 0], around[:, 1]]]
    return np.unique(around, axis=0)
