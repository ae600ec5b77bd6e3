"""SEN2NAIP: Sentinel-2 at 10 m and aerial images (NAIP) at 2.5 m (Aybar et al. 2024).

`cross-sensor/ROI_0001/lr.tif` and `hr.tif`, 121 and 484 pixels along, four bands. Version 1 has the
aerial images as they are, 8 bits: each is brought to the mean and the deviation of its coarse
image, band by band. Version 2 (16 bits) has been brought to them by its authors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.scene.radiometry import NET_QUANTIFICATION, reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions
from geosr.training.datasets.layouts.layout import (
    Layout,
    Pair,
    plain,
    require_whole,
    wanted,
    with_alpha,
)

NAME = "SEN2NAIP"
_FILES = ("lr.tif", "hr.tif")


def is_in(data: Path) -> bool:
    """It, or its folder of places, has one with lr.tif or hr.tif."""
    return any((p / name).is_file() for p in _folder(data).iterdir() for name in _FILES)


def _folder(data: Path) -> Path:
    inner = data / "cross-sensor"
    return inner if inner.is_dir() else data


def pairs(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """One a place; the data set has no parts."""
    places = sorted(p for p in _folder(data).iterdir() if p.is_dir() and wanted(p.name, pattern))
    places = [p for p in places if any((p / name).is_file() for name in _FILES)]
    missing = [f"{p.name}/{name}" for p in places for name in _FILES if not (p / name).is_file()]
    require_whole(NAME, data, missing)
    return [Pair(p.name, p / "hr.tif", (p / "lr.tif",)) for p in places]


def opened(pair: Pair, scale: int, options: OpenOptions) -> tuple[Scene, tuple[Scene, ...]]:
    """The aerial image in the values of the coarse one, and that."""
    fine, coarse = plain(pair, scale, options)
    fine = with_alpha(fine)
    if fine.dtype.itemsize > 1 or len(fine.bands) != len(coarse[0].bands):
        return fine, coarse
    return alike(fine, coarse[0]), coarse


def alike(fine: Scene, coarse: Scene) -> Scene:
    """The scene with each band brought to the mean and deviation of the other's."""
    (means, spreads), (own_means, own_spreads) = _moments(coarse), _moments(fine)
    gains = np.where((own_spreads > 0) & (spreads > 0), spreads / np.maximum(own_spreads, 1e-9), 1)
    shifts = (means / gains - own_means) * fine.quantification / NET_QUANTIFICATION
    bands = tuple(
        replace(band, gain=band.gain * float(gain), offset=band.offset + float(shift))
        for band, gain, shift in zip(fine.bands, gains, shifts, strict=True)
    )
    return replace(fine, bands=bands)


def _moments(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of every band's usable pixels, reflectance × 10000."""
    names = [band.name for band in scene.bands]
    with scene.open() as reader:
        pixels = reader.read(names, scene.finest, scene.grid.window)
    values = reflectance(scene, names, pixels.values.astype(np.float32)).astype(np.float64)
    seen = [v[good] if good.any() else np.zeros(1)
            for v, good in zip(values, pixels.usable, strict=True)]  # fmt: skip
    return np.array([v.mean() for v in seen]), np.array([v.std() for v in seen])


LAYOUT = Layout(NAME, "CC BY 4.0 (version 2: CC0)", is_in, pairs, opened, scale=4)
