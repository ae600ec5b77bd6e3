"""Statistics of a band while it is written, as GDAL keeps them: exact, at no second reading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 4  # at a time: as float64 they stay in the processor's cache


class Statistics:
    """Least, largest, mean and spread of a band's valid counts, block row by block row.

    Sums are taken about the first valid count, so that a small spread far from zero is not lost.

    Args:
        nodata: the count that means "nothing sensed", or None.
    """

    def __init__(self, nodata: float | None = None) -> None:
        self._nodata = nodata
        self._pixels = self._valid = 0
        self._about = self._sum = self._squares = 0.0
        self._low, self._high = math.inf, -math.inf

    def add(self, values: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> None:
        """Count in `values` (rows, cols) where `mask` allows them; NaN and Inf are never valid."""
        self._pixels += values.size
        for top in range(0, len(values), _ROWS):
            rows = slice(top, top + _ROWS)
            self._add(values[rows], None if mask is None else mask[rows])

    def _add(self, values: NDArray[Any], mask: NDArray[np.bool_] | None) -> None:
        valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        if self._nodata is not None:
            valid &= values != self._nodata
        if mask is not None:
            valid &= mask
        kept = values[valid].astype(np.float64)
        if not kept.size:
            return
        if not self._valid:
            self._about = float(kept[0])
        self._valid += kept.size
        self._low, self._high = (
            min(self._low, float(kept.min())),
            max(self._high, float(kept.max())),
        )
        kept -= self._about
        self._sum += float(kept.sum())
        self._squares += float(np.square(kept, out=kept).sum())

    def tags(self) -> dict[str, str]:
        """GDAL's STATISTICS_* of a band; nothing where no pixel is valid."""
        if not self._valid:
            return {}
        mean = self._sum / self._valid
        variance = max(self._squares / self._valid - mean**2, 0.0)
        found = {
            "MAXIMUM": self._high, "MEAN": self._about + mean, "MINIMUM": self._low,
            "STDDEV": math.sqrt(variance),
        }  # fmt: skip
        tags = {f"STATISTICS_{name}": f"{value:.14g}" for name, value in found.items()}
        share = 100 * self._valid / self._pixels
        return tags | {"STATISTICS_VALID_PERCENT": f"{share:.4g}"}
