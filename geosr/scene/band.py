"""A band as it lies in a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from geosr.raster.files import Warp
from geosr.scene.quality import Quality
from geosr.scene.spectrum import Spectrum


@dataclass(frozen=True)
class Band:
    """One band in one file.

    Attributes:
        name: as ESA writes it, "B8A".
        gsd: native ground sampling distance, metres.
        path: file or `/vsizip/` path; `driver` opens it (None: by its first bytes).
        index: band in the file, from 1.
        offset: to add to a count for reflectance × quantification (−1000 from baseline 04.00).
        frame: which of several images of the place, 0 the clearest.
        nodata: the count that means "nothing sensed"; NaN where every count may be sensed.
        factor: file pixels along a native pixel; more than 1 where somebody brought the band to
            a finer grid.
        layer: the dataset of an HDF5 file, "LEVEL3/RADIOMETRY/RED/TOC", or GDAL's name of one of
            an HDF4 file.
        quality: where it is written which pixels are clear; None: all are.
        warp: how the file is brought onto the scene's grid; None: it lies there.
        tagged: GDAL's scale and offset as the file has them, for the output.
        gain: reflectance of a count and its offset as a multiple of 1 / quantification, where bands
            of a scene are scaled in different ways.
        unit: of what scale and offset give, "K", as the file has it; "" where it says none.
        spectrum: where in the spectrum it was sensed, as far as that is known.
    """

    name: str
    gsd: int
    path: str
    index: int = 1
    frame: int = 0
    offset: float = 0.0
    nodata: float = 0.0
    factor: int = 1
    driver: str | None = None
    layer: str = ""
    quality: Quality | None = None
    warp: Warp | None = None
    tagged: tuple[float, float] = (1.0, 0.0)
    gain: float = 1.0
    unit: str = ""
    spectrum: Spectrum = Spectrum()  # noqa: RUF009 - frozen


def nodata_value(value: float | None, dtype: np.dtype[Any]) -> float:
    """What a file declares as nodata, as Band has it: NaN for none, or one its type cannot hold."""
    if value is None:
        return math.nan
    outside = dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    return math.nan if outside else float(value)
