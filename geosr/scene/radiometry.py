"""Counts to reflectance and back, without losing what a count can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.scene.band import Band
from geosr.scene.scene import Scene

NET_QUANTIFICATION = 10000.0  # nets see reflectance × 10000, whatever the product stores


def reflectance(
    scene: Scene, names: Sequence[str], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Counts (bands, rows, cols) to reflectance × 10000: (count + offset) × 10000 / quantification.

    Times the band's gain. Negative values and values above 10000 stay as they are.
    """
    bands = scene.select(names=names)
    offsets = np.array([band.offset for band in bands], np.float32)
    gains = np.array([band.gain for band in bands])
    scales = (gains * NET_QUANTIFICATION / scene.quantification).astype(np.float32)
    result = values + offsets[:, None, None]
    result *= scales[:, None, None]
    return np.asarray(result, np.float32)


def to_counts(
    values: NDArray[np.float32],
    scene: Scene,
    band: Band,
    dtype: np.dtype[Any],
    sensed: NDArray[np.bool_],
) -> tuple[NDArray[Any], int, int]:
    """Reflectance × 10000 of one band back to the product's counts.

    Integers are rounded and clipped to the type's range, never wrapped; a sensed pixel whose
    count happens to be the nodata value moves by one count.

    Returns:
        counts in `dtype`; how many sensed values were clipped; how many moved off nodata.
    """
    scale = np.float32(scene.quantification / NET_QUANTIFICATION / band.gain)
    counts = values * scale - np.float32(band.offset)
    if dtype.kind == "f":
        return _off_nodata(counts.astype(dtype), band.nodata, sensed, 0)
    info = np.iinfo(dtype)
    rounded = np.rint(counts.astype(np.float64))
    outside = ((rounded < info.min) | (rounded > info.max)) & sensed
    whole = np.clip(rounded, info.min, info.max).astype(dtype)
    return _off_nodata(whole, band.nodata, sensed, int(outside.sum()))


def _off_nodata(
    counts: NDArray[Any], nodata: float, sensed: NDArray[np.bool_], clipped: int
) -> tuple[NDArray[Any], int, int]:
    hit = (counts == nodata) & sensed
    if not hit.any():
        return counts, clipped, 0
    if counts.dtype.kind == "f":
        moved = np.nextafter(counts.dtype.type(nodata), counts.dtype.type(np.inf))
    else:
        moved = counts.dtype.type(nodata + 1 if nodata < np.iinfo(counts.dtype).max else nodata - 1)
    counts[hit] = moved
    return counts, clipped, int(hit.sum())
