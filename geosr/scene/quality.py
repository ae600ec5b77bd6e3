"""Which pixels of a band are clear, as another raster or another of its bands tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.grid import Grid


@dataclass(frozen=True)
class Quality:
    """Where it is written which pixels of a band are clear.

    Attributes:
        path, index, driver, layer: as in Band; the raster has the size of the band's.
        bits: a pixel is clear where `value & bits == equals`; None: where the value is not 0.
        unless: (bits, value): nor is it clear where `value & bits` is that.
        grid: where the raster lies, if it is another grid than the band's: the nearest of its
            pixels tells.
    """

    path: str
    index: int = 1
    driver: str | None = None
    layer: str = ""
    bits: int | None = None
    equals: int = 0
    unless: tuple[tuple[int, int], ...] = ()
    grid: Grid | None = None

    def clear(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the values read say clear; NaN does not."""
        known = np.isfinite(values)
        if self.bits is None:
            return known & (values != 0)
        whole = np.where(known, values, 0).astype(np.int64)
        clear = known & (whole & self.bits == self.equals)
        for bits, value in self.unless:
            clear &= whole & bits != value
        return clear
