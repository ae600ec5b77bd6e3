"""Landsat products for tests: Collection 2's names, grids and metadata, and ground of our own."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geosr.scene import degrade

CRS_ = CRS.from_epsg(32633)
LEFT, TOP = 341985.0, 5610015.0  # of the 30 m grid; the 15 m one begins 7.5 m further in
NAME = "LC08_L1TP_192026_20200806_20210330_02_T1"
MULT, ADD = 2e-5, -0.1
SHARES = {"blue": 0.5, "green": 0.8, "red": 1.0, "nir": 1.6, "swir1": 1.2, "swir2": 0.7}
NUMBERS = {1: None, 2: "blue", 3: "green", 4: "red", 5: "nir", 6: "swir1", 7: "swir2"}
CLOUD = 0b1000


def ground(side: int, seed: int = 0) -> np.ndarray:
    """Reflectance in cells of 7.5 m, (4 · side, 4 · side): waves and some fields."""
    rng = np.random.default_rng(seed)
    at = np.arange(4 * side)
    rows, cols = at[:, None], at[None]
    field = np.full((4 * side, 4 * side), 0.25)
    for _ in range(8):
        down, across, turn = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0, 6)
        field += 0.01 * np.sin(down * rows + across * cols + turn)
    for _ in range(12):
        top, left = rng.integers(0, 4 * side - 24, 2)
        field[top : top + rng.integers(8, 24), left : left + rng.integers(8, 24)] += 0.05
    return field


def seen(field: np.ndarray) -> np.ndarray:
    """A field in cells of 7.5 m as a band at 30 m sees it, relative to one at 15 m."""
    taps = degrade.point_spread(2, 1.1)
    pad = degrade.beyond(taps, 2)
    fine = np.pad(means(field, 2), pad, "symmetric")[None].astype(np.float32)
    return degrade.shrink(fine, 2, taps, taps, pad=pad)[0]


def means(field: np.ndarray, k: int) -> np.ndarray:
    rows, cols = (n // k for n in field.shape)
    return field[: rows * k, : cols * k].reshape(rows, k, cols, k).mean((1, 3))


def write(path: Path, counts: np.ndarray, gsd: float, corner: float = 0.0) -> None:
    grid = Affine(gsd, 0, LEFT + corner, 0, -gsd, TOP - corner)
    with rasterio.open(path, "w", driver="GTiff", height=counts.shape[0], width=counts.shape[1],
                       count=1, dtype=counts.dtype, nodata=0 if counts.itemsize > 1 else None,
                       crs=CRS_, transform=grid) as file:  # fmt: skip
        file.write(counts, 1)


def product(
    folder: Path, *, name: str = NAME, side: int = 48, about: str = "txt", cloud: bool = False,
    tar: bool = False, pan: bool = True, level2: bool = False,
) -> Path:  # fmt: skip
    """A product of `side` pixels of 30 m, in a folder or a tar, and its path.

    Args:
        level2: surface reflectance, which has no panchromatic band, instead of Level 1.
    """
    name = name.replace("L1TP", "L2SP") if level2 else name
    prefix = "SR_" if level2 else ""
    path = folder / name
    path.mkdir(parents=True)
    field = ground(side)
    for number, band in NUMBERS.items():
        share = SHARES.get(band or "", 0.4)
        write(path / f"{name}_{prefix}B{number}.TIF", counts(share * seen(field)), 30)
    if pan and not level2:
        write(path / f"{name}_B8.TIF", counts(means(field[1:-1, 1:-1], 2)), 15, 7.5)
    clear = np.full((side, side), 0b1000000, np.uint16)
    if cloud:
        clear[:4, :6] |= CLOUD
    write(path / f"{name}_QA_PIXEL.TIF", clear, 30)
    describe(path, name, about)
    return packed(path) if tar else path


def counts(reflectance: np.ndarray) -> np.ndarray:
    return np.rint((reflectance - ADD) / MULT).astype(np.uint16)


def describe(path: Path, name: str, about: str) -> None:
    numbers = [*NUMBERS, 8]
    scaling = {f"REFLECTANCE_MULT_BAND_{n}": MULT for n in numbers}
    scaling |= {f"REFLECTANCE_ADD_BAND_{n}": ADD for n in numbers}
    if about == "json":
        text = json.dumps({"LANDSAT_METADATA_FILE": {"LEVEL1_RADIOMETRIC_RESCALING": {
            key: str(value) for key, value in scaling.items()}}})  # fmt: skip
    else:
        lines = [f"    {key} = {value:.4E}" for key, value in scaling.items()]
        text = "\n".join(["GROUP = LANDSAT_METADATA_FILE", *lines, "END_GROUP", "END"])
    if about:
        (path / f"{name}_MTL.{about}").write_text(text)


def packed(path: Path) -> Path:
    tar = path.with_name(f"{path.name}.tar")
    with tarfile.open(tar, "w") as archive:
        for file in sorted(path.iterdir()):
            archive.add(file, file.name)
            file.unlink()
    path.rmdir()
    return tar
