"""Small rasters for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geosr.scene.degrade import degrade, reach

GRID = Affine(30, 0, 500010, 0, -30, 4100040)


CRS_ = CRS.from_epsg(32630)


def write(path: Path, values: np.ndarray, *, nodata=None, grid: Affine | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    more = {"crs": CRS.from_epsg(32633), "transform": grid} if grid is not None else {}
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    with rasterio.open(path, "w", driver=driver, width=width, height=height, count=count,
                       dtype=values.dtype, nodata=nodata, **more) as file:  # fmt: skip
        file.write(values)
    return path


def picture(seed: int, side: int = 48, bands: int = 1, dtype=np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.1, 0.9, (bands, side // 8, side // 8))
    fine = coarse.repeat(8, 1).repeat(8, 2)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1.0
    return (fine * top).astype(dtype)


def paired(folder: Path, names=("hr", "lr"), *, scale=2, grid=False) -> Path:
    for i in range(3):
        fine = picture(i)
        coarse = fine.reshape(1, 48 // scale, scale, 48 // scale, scale).mean((2, 4))
        tall = Affine(5, 0, 600000, 0, -5, 100000) if grid else None
        wide = Affine(5 * scale, 0, 600000 + 40, 0, -5 * scale, 100000 - 20) if grid else None
        write(folder / names[0] / f"p{i}_HR.tif", fine, grid=tall)
        small = coarse.astype(np.uint8)
        if grid:  # the coarse file shows less ground
            small = np.ascontiguousarray(small[:, 20 // (5 * scale) :, 40 // (5 * scale) :])
        write(folder / names[1] / f"p{i}_LR.tif", small, grid=wide)
    return folder


def write_on_grid(path: Path, values: np.ndarray, *, names=(), mask=None, nodata=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=count,
                           dtype=values.dtype, crs=CRS_, transform=GRID,
                           nodata=nodata) as file:  # fmt: skip
            file.write(values)
            file.descriptions = names or (None,) * count
            if mask is not None:
                file.write_mask(mask)
    return path


def degraded(image, factor):
    pad = reach(factor)
    return degrade(np.pad(image, ((0, 0), (pad, pad), (pad, pad)), "symmetric"), factor)
