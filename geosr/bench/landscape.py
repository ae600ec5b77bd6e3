"""A generated scene of random land, to measure speed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geosr.bench.reference import write_whole
from geosr.raster.grid import Grid

SIZE = 1098  # 10 m pixels along a generated scene: a tenth of a Sentinel-2 tile
GROUPS = {10: ("B2", "B3", "B4", "B8"), 20: ("B5", "B6", "B7", "B8A", "B11", "B12"),
           60: ("B1", "B9")}  # fmt: skip


def generate(folder: Path, size: int = SIZE, groups: Mapping[int, Sequence[str]] = GROUPS) -> Path:
    """Write a scene of random land, the same every time: 10m.tif, 20m.tif and 60m.tif.

    Args:
        size: 10 m pixels along it, rounded to a multiple of 6.
        groups: bands by GSD.

    Returns:
        `folder`, or the only file in it.

    Raises:
        StoppedError: it cannot be written.
    """
    size = max(round(size / 6), 1) * 6
    rng, base = np.random.default_rng(0), min(size, SIZE)
    fields = np.stack([_noise(base, cell, rng) for cell in (240, 60, 15, 4)])
    fields[1] = np.floor(6 * fields[1]) / 6  # fields with edges
    folder.mkdir(parents=True)
    for gsd, names in groups.items():
        k = gsd // 10
        more = (size - base) // k
        bands = [_band(fields, k, rng) for _ in names]
        rows = np.stack([np.pad(band, (0, more), mode="symmetric") for band in bands])
        transform = Affine(gsd, 0, 399960, 0, -gsd, 5600040)
        grid = Grid(CRS.from_epsg(32633), transform, size // k, size // k)
        write_whole(folder / f"{gsd}m.tif", rows, grid, names)
    return folder if len(groups) > 1 else next(folder.iterdir())


def _band(fields: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """A mixture of the fields in counts, as means of k × k pixels."""
    shares = rng.dirichlet(np.ones(len(fields))).astype(np.float32)
    values = 400 + 4000 * np.tensordot(shares, fields, 1)
    values += rng.normal(0, 20, values.shape)
    side = len(values) // k
    means = values.reshape(side, k, side, k).mean((1, 3))
    return np.rint(np.clip(means, 1, 10000)).astype(np.uint16)


def _noise(side: int, cell: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise from 0 to 1 with features of `cell` pixels, (side, side)."""
    lattice = rng.random((side // cell + 2,) * 2, np.float32)
    place = (np.arange(side, dtype=np.float32) + 0.5) / cell
    low = place.astype(int)
    part = place - low
    rows = lattice[low] * (1 - part)[:, None] + lattice[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part, np.float32)
