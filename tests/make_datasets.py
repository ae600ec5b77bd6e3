"""Tiny imitations of published data sets: their folders, names and types, ground of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from make_landsat import means
from rasterio.crs import CRS

UTM = CRS.from_epsg(32633)
LEFT, TOP = 500_000.0, 5_000_000.0
TWELVE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
SHARES = {"B4": 1.0, "B3": 0.8, "B2": 0.6, "B8": 1.8}


def ground(side: int, seed: int) -> np.ndarray:
    """Reflectance, (side, side): six waves and three fields."""
    rng = np.random.default_rng(seed)
    rows, cols = np.arange(side)[:, None], np.arange(side)[None]
    field = np.full((side, side), 0.2)
    for _ in range(6):
        down, across = rng.uniform(-0.25, 0.25, 2)
        field += 0.02 * np.sin(down * rows + across * cols + rng.uniform(0, 6))
    for _ in range(3):
        top, left = rng.integers(0, side - 8, 2)
        field[top : top + 8, left : left + 8] += 0.05
    return field


def bands(field: np.ndarray, names: Sequence[str] = tuple(SHARES)) -> np.ndarray:
    """The field as bands, (bands, rows, cols)."""
    return np.stack([SHARES.get(name, 0.4) * field for name in names])


def write(
    path: Path, values: np.ndarray, gsd: float, *, place: int = 0, crs: CRS | None = UTM,
    names: Sequence[str] = (),
) -> Path:  # fmt: skip
    """A GeoTIFF; every place lies 100 km from the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    grid = Affine(gsd, 0, LEFT + 1e5 * place, 0, -gsd, TOP)
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=count,
                       dtype=values.dtype, crs=crs, transform=grid) as file:  # fmt: skip
        file.write(values)
        file.descriptions = tuple(names) or (None,) * count
    return path


def oli2msi(folder: Path) -> Path:
    """Three pairs to train on, one to test, × 3, three bands of float32."""
    for i in range(4):
        part = "test" if i == 3 else "train"
        name = f"L8_19202{i}_20200806_S2B_20200806_T33UU{i}_N0001.TIF"
        field = ground(120, i)
        fine = bands(field, ("B4", "B3", "B2")).astype(np.float32)
        coarse = bands(means(field, 3), ("B4", "B3", "B2")).astype(np.float32)
        write(folder / f"{part}_hr" / name, fine, 10, place=i)
        write(folder / f"{part}_lr" / name, coarse, 30, place=i)
    return folder


def sen2venus(
    folder: Path, *, sites: Sequence[str] = ("ALSACE", "ANJI"), index: bool = True
) -> Path:
    """Two dates a site, two patches a file, int16 with one negative value."""
    for place, site in enumerate(sites):
        rows = []
        for date in ("2018-02-14", "2018-03-02"):
            stem = f"{site}_C_{date}"
            fields = [ground(64, 10 * place + i) for i in range(2)]
            for ending, k, names in (
                ("05m_b2b3b4b8", 1, ("B2", "B3", "B4", "B8")),
                ("10m_b2b3b4b8", 2, ("B2", "B3", "B4", "B8")),
                ("05m_b4b5b6b8a", 1, ("B5", "B6", "B7", "B8A")),
                ("20m_b4b5b6b8a", 4, ("B5", "B6", "B7", "B8A")),
            ):
                images = np.stack([bands(means(field, k), names) for field in fields])
                counts = np.rint(10000 * images).astype(np.int16)
                counts[0, 0, 0, 0] = -12
                (folder / site).mkdir(parents=True, exist_ok=True)
                torch.save(torch.from_numpy(counts), folder / site / f"{stem}_{ending}.pt")
            rows.append([site, date, "2", *(f"{stem}_{e}.pt" for e in (
                "05m_b2b3b4b8", "10m_b2b3b4b8", "05m_b4b5b6b8a", "20m_b4b5b6b8a"))])  # fmt: skip
        head = ["vns_site", "date", "nb_patches", "tensor_05m_b2b3b4b8", "tensor_10m_b2b3b4b8",
                "tensor_05m_b5b6b7b8a", "tensor_20m_b5b6b7b8a"]  # fmt: skip
        if index:
            text = "\n".join("\t".join(row) for row in [head, *rows])
            (folder / site / "index.csv").write_text(text + "\n")
    return folder


def worldstrat(folder: Path, *, places: int = 3, revisits: int = 3, crs: CRS | None = UTM) -> Path:
    """Places of 40 pixels of 10 m, seen again and again, and 266 of 1.5 m; the last is for testing.

    Revisit n of every place has n − 1 rows of clouds in its lower half, and lies a part of a pixel
    off.
    """
    names = [f"Place-{chr(ord('A') + i)}" for i in range(places)]
    for place, name in enumerate(names):
        field = _smooth(place)
        rows = np.arange(266)[:, None] * 1.5 + 0.75
        cols = np.arange(266)[None] * 1.5 + 0.75
        fine = np.rint(10000 * bands(field(rows, cols))).astype(np.uint16)
        write(folder / "hr_dataset" / name / f"{name}_ps.tiff", fine, 1.5, place=place, crs=crs)
        for n in range(1, revisits + 1):
            r = np.arange(40)[:, None] * 10 + 5.0 + n - 1
            c = np.arange(40)[None] * 10 + 5.0
            noise = np.random.default_rng([place, n]).normal(1, 0.003, (12, 40, 40))
            low = (bands(field(r, c), TWELVE) * noise).astype(np.float32)
            clouds = np.zeros((1, 40, 40), np.uint8)
            clouds[:, 30 : 29 + n] = 1
            low[:, 30 : 29 + n] = 0.9
            inside = folder / "lr_dataset" / name / "L2A"
            write(inside / f"{name}-{n}-L2A_data.tiff", low, 10, place=place, crs=crs)
            write(inside / f"{name}-{n}-CLM.tiff", clouds, 10, place=place, crs=crs)
    lines = [f"{name},{'test' if i == places - 1 else 'train'}" for i, name in enumerate(names)]
    text = "\n".join(["tile,split", *lines]) + "\n"
    (folder / "stratified_train_val_test_split.csv").write_text(text)
    (folder / "metadata.csv").write_text("tile,n,cloud_cover\n")
    return folder


def _smooth(seed: int):
    """Reflectance at any metre: waves of 45 to 300 m."""
    rng = np.random.default_rng(seed)
    waves = [(*rng.uniform(-0.1, 0.1, 2), rng.uniform(0, 6)) for _ in range(6)]

    def at(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return 0.25 + sum(0.02 * np.sin(a * rows + b * cols + c) for a, b, c in waves)

    return at


def sen2naip(folder: Path, *, version: int = 1) -> Path:
    """Three places of 31 and 124 pixels; version 1 has fine images of 8 bits, otherwise bright."""
    for i in range(3):
        field = ground(124, i)
        coarse = np.rint(10000 * bands(means(field, 4))).astype(np.uint16)
        fine = np.rint(10000 * bands(field)).astype(np.uint16)
        if version == 1:
            fine = np.rint(255 * (0.1 + 0.6 * bands(field))).astype(np.uint8)
        place = folder / "cross-sensor" / f"ROI_{i:04}"
        write(place / "lr.tif", coarse, 10, place=i)
        write(place / "hr.tif", fine, 2.5, place=i)
    return folder


def opensr_test(folder: Path, *, named: bool = False) -> Path:
    """naip (× 4) and venus (× 2), three places each, 12 bands beside four."""
    for subset, k in (("naip", 4), ("venus", 2)):
        for i in range(3):
            field, inside = ground(96, i + k), folder / "100" / subset
            low = np.rint(10000 * bands(means(field, k), TWELVE)).astype(np.uint16)
            fine = np.rint(10000 * bands(field)).astype(np.uint16)
            place = 10 * k + i
            for level in ("L1C", "L2A"):
                write(inside / level / f"ROI_{i:05}__20210917T172859_T14TMP.tif", low, 10,
                      place=place, names=TWELVE if named else ())  # fmt: skip
            for side in ("hr", "hr_harmonized"):
                write(inside / side / f"HR__ROI_{i:05}__m_44113.tif", fine, 10 / k, place=place)
        (inside / f"{subset}.pkl").write_bytes(b"\x80\x04.")
        (inside / f"{subset}_metadata.csv").write_text("lr_file,hr_file,roi\n")
    return folder


def l1bsr(folder: Path) -> Path:
    """Three crops of two detectors, without georeference, blue, green, red, near infrared."""
    for i in range(3):
        field = ground(64, i)
        for side, shift in (("left", 0), ("right", 1)):
            counts = np.rint(1000 * bands(np.roll(field, shift, 0))).astype(np.uint16)
            write(folder / f"scene_{side}" / f"{i:02}.tif", counts, 1, crs=None)
    return folder
