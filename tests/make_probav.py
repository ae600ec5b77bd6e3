"""Generated Proba-V data: imgsets of PNG as in the Kelvins challenge, and HDF5 products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio

CLOUD, SHADOW = 0b011, 0b001
GOOD = 0b11111000  # clear, land, all bands good
PRODUCT = "PROBAV_S1_TOC_X18Y02_20150101_100M_V101.HDF5"


def write_png(path: Path, values: np.ndarray) -> Path:
    """One PNG of one band, without a CRS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(path, "w", driver="PNG", width=width, height=height, count=1,
                       dtype=values.dtype) as file:  # fmt: skip
        file.write(values, 1)
    return path


def write_imgset(
    folder: Path, *, frames: int = 3, size: int = 32, seed: int = 0, dtype: str = "uint16"
) -> Path:
    """LR, QM, SM and HR; frame i has its first 2 · i rows under clouds, so LR000 is clearest."""
    rng = np.random.default_rng(seed)
    top = 12000 if dtype == "uint16" else 200
    truth = rng.integers(top // 2, top, (3 * size, 3 * size)).astype(dtype)
    coarse = truth.reshape(size, 3, size, 3).mean((1, 3))
    for i in range(frames):
        mask = np.full((size, size), 255, np.uint8)
        mask[: 2 * i] = 0
        noise = rng.integers(-20, 20, coarse.shape) if dtype == "uint16" else 0
        write_png(folder / f"LR{i:03}.png", (coarse + noise).astype(dtype))
        write_png(folder / f"QM{i:03}.png", mask)
    write_png(folder / "HR.png", truth)
    write_png(folder / "SM.png", np.full(truth.shape, 255, np.uint8))
    return folder


def counts(name: str, shape: tuple[int, int]) -> np.ndarray:
    """What `write_product` puts into a band: int16, another ramp for each."""
    start = {"BLUE": 100, "RED": 300, "NIR": 500, "SWIR": 700}[name]
    return (start + np.arange(shape[0] * shape[1]) % 997).reshape(shape).astype(np.int16)


def write_product(
    path: Path,
    *,
    level: str = "LEVEL3",
    kind: str = "TOC",
    bands: Sequence[str] = ("BLUE", "RED", "NIR", "SWIR"),
    shape: tuple[int, int] = (48, 48),
    status: np.ndarray | None = None,
    scale: Mapping[str, object] | None = None,
    offset: float = 0,
    geotransform: str | None = None,
    spatial_ref: str | None = None,
    nothing: tuple[int, int] | None = None,
) -> Path:
    """An HDF5 product as documented.

    Args:
        status: status map; None is clear everywhere.
        scale: SCALE of bands where it is not 2000; None leaves it out.
        nothing: (row, col) of a pixel that has NO_DATA, -1.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name in bands:
            values = counts(name, shape)
            if nothing is not None:
                values[nothing] = -1
            band = file.create_dataset(
                f"{level}/RADIOMETRY/{name}/{kind}", data=values, compression="gzip"
            )
            unit = (scale or {}).get(name, 2000.0)
            if unit is not None:
                band.attrs["SCALE"] = unit if isinstance(unit, str) else np.float32(unit)
            band.attrs["OFFSET"], band.attrs["NO_DATA"] = np.float32(offset), np.float32(-1)
        if status is None:
            status = np.full(shape, GOOD, np.uint8)
        file.create_dataset(f"{level}/QUALITY/SM", data=status)
        file.create_dataset(f"{level}/GEOMETRY/SZA", data=np.zeros(shape, np.uint8))
        if geotransform is not None:
            crs = file.create_dataset("crs", data=np.int8(0))
            crs.attrs["GeoTransform"] = geotransform
            if spatial_ref is not None:
                crs.attrs["spatial_ref"] = spatial_ref
    return path
