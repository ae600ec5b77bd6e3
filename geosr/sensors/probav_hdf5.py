"""Proba-V products in HDF5: segments (level 2A) and syntheses (level 3), at TOA or TOC.

    LEVEL3/RADIOMETRY/{BLUE,RED,NIR,SWIR}/{TOC,TOA}   counts; SCALE, OFFSET, NO_DATA beside them
    LEVEL3/QUALITY/SM                                 status map
    crs                                               GeoTransform, in newer products

Reflectance is (count − OFFSET) / SCALE (PROBA-V Products User Manual).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geosr.errors import SceneError
from geosr.raster.files import open_hdf5
from geosr.raster.grid import Grid
from geosr.scene.acquisition import told
from geosr.scene.band import Band, nodata_value
from geosr.scene.note import Note
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors.options import OpenOptions
from geosr.sensors.probav import status_bits

SUFFIXES = (".h5", ".hdf5")
BANDS = ("BLUE", "RED", "NIR", "SWIR")
GSD = 1  # names the one grid, as for any image
_TILE = re.compile(r"_X(\d\d)Y(\d\d)(?=_|\.|$)", re.IGNORECASE)
_WGS84 = CRS.from_epsg(4326)


def is_product(path: Path) -> bool:
    """A file that is named as HDF5."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def open_product(path: Path, options: OpenOptions) -> Scene:
    """The bands of a product, unclear where its status map says so.

    The grid is told by a CRS in the file or by the tile in its name.

    Raises:
        SceneError: not HDF5, no radiometry, or bands that differ in size, type or scale.
    """
    with open_hdf5(path) as dataset:
        tags = dataset.tags()
        layers = [name.partition("://")[2] for name in dataset.subdatasets]
    level, kind, names = _radiometry(path, layers)
    found = [_describe(path, f"{level}/RADIOMETRY/{name}/{kind}") for name in names]
    first = found[0]
    for other in found[1:]:
        _check_alike(path, first, other)
    grid, placed = _grid(path, tags, first)
    status = f"{level}/QUALITY/SM"
    offset = options.dn_offset
    bands = [
        Band(
            name, GSD, str(path), offset=-dataset.offset if offset is None else offset,
            nodata=dataset.nodata, driver="HDF5Image", layer=dataset.layer,
        )
        for name, dataset in zip(names, found, strict=True)
    ]  # fmt: skip
    if status in layers:
        bands = [replace(band, quality=_status(path, status, band.name)) for band in bands]
    unit = options.quantification or first.scale
    said = "as asked" if options.quantification else "by the product's SCALE"
    notes = [Note(f"value {unit:g} counts as 1.0, {said}"), placed]
    if status not in layers:
        notes.append(
            Note(f"no status map ({status}): every pixel is taken for clear", warning=True)
        )
    return Scene(
        path.stem, str(path), "probav", f"{level} {kind}", tuple(bands), {GSD: grid}, grid.window,
        first.dtype, unit, tuple(notes), acquisition=told(path.stem, {}),
    )  # fmt: skip


def _radiometry(path: Path, layers: Sequence[str]) -> tuple[str, str, list[str]]:
    """Level, TOC or else TOA, and the bands that are there."""
    for level in ("LEVEL3", "LEVEL2A"):
        for kind in ("TOC", "TOA"):
            names = [name for name in BANDS if f"{level}/RADIOMETRY/{name}/{kind}" in layers]
            if names:
                return level, kind, names
    listed = ", ".join(layers[:8]) + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")
    raise SceneError(
        f"{path} is no Proba-V product: looked for LEVEL3 or LEVEL2A, RADIOMETRY, "
        f"{' '.join(BANDS)}, TOC or TOA; found {listed or 'no datasets of two dimensions'}. "
        "Give a product with reflectance, or a GeoTIFF."
    )


# one band


@dataclass(frozen=True)
class _Dataset:
    """What a dataset says of itself without its pixels."""

    layer: str
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    scale: float
    offset: float
    nodata: float


def _describe(path: Path, layer: str) -> _Dataset:
    with open_hdf5(path, layer) as dataset:
        dtype = np.dtype(dataset.dtypes[0])
        if dataset.count != 1 or dtype.kind not in "iuf":
            raise SceneError(
                f"{path}: {layer} has {dataset.count} layers of {dtype}, needed is one of a real "
                "type. Download the product again."
            )
        tags, shape = dataset.tags(1), (dataset.height, dataset.width)
    if "SCALE" not in tags:
        raise SceneError(f"{path}: {layer} has no attribute SCALE. Download the product again.")
    scale = _number(path, layer, "SCALE", tags["SCALE"])
    offset = _number(path, layer, "OFFSET", tags.get("OFFSET", "0"))
    if not (scale > 0 and math.isfinite(scale) and math.isfinite(offset)):
        raise SceneError(
            f"{path}: {layer} has SCALE {scale:g} and OFFSET {offset:g}; a positive and a finite "
            "number are needed. Download the product again."
        )
    nodata = _number(path, layer, "NO_DATA", tags["NO_DATA"]) if "NO_DATA" in tags else None
    return _Dataset(layer, shape, dtype, scale, offset, nodata_value(nodata, dtype))


def _number(path: Path, layer: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SceneError(
            f"{path}: attribute {name} of {layer} is no number ('{text[:40]}'). "
            "Download the product again."
        ) from None


def _check_alike(path: Path, first: _Dataset, other: _Dataset) -> None:
    if (first.shape, first.dtype, first.scale) != (other.shape, other.dtype, other.scale):
        raise SceneError(
            f"{path}: {other.layer} ({_described(other)}) differs from {first.layer} "
            f"({_described(first)}). Give a product whose bands are alike."
        )


def _described(dataset: _Dataset) -> str:
    height, width = dataset.shape
    return f"{height} × {width} px of {dataset.dtype}, SCALE {dataset.scale:g}"


def _status(path: Path, layer: str, name: str) -> Quality:
    bits, equals = status_bits(name)
    return Quality(str(path), driver="HDF5Image", layer=layer, bits=bits, equals=equals)


# where it lies


def _grid(path: Path, tags: Mapping[str, str], dataset: _Dataset) -> tuple[Grid, Note]:
    """The grid of a band, and how it is known."""
    height, width = dataset.shape
    said = {key.lower(): text for key, text in tags.items()}
    if "crs_geotransform" in said:
        transform = _transform(path, said["crs_geotransform"])
        crs = _crs(path, said.get("crs_spatial_ref") or said.get("crs_crs_wkt"))
        return Grid(crs, transform, width, height), Note("grid from the product's CRS")
    tile = _TILE.search(path.stem)
    if tile and height == width:
        step, x, y = 10 / width, int(tile[1]), int(tile[2])
        transform = Affine(step, 0, -180 + 10 * x, 0, -step, 75 - 10 * y)
        return Grid(_WGS84, transform, width, height), Note(f"grid from the tile X{x:02}Y{y:02}")
    why = "is not square, so no whole tile" if tile else "names no tile such as X18Y02"
    note = Note(f"no CRS: the file has no crs with a GeoTransform and {why}", warning=True)
    return Grid(None, Affine.identity(), width, height), note


def _transform(path: Path, text: str) -> Affine:
    """A GDAL geotransform: six numbers, x and y of the corner first and fourth."""
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
        transform = Affine.from_gdal(*numbers)
    except (TypeError, ValueError):
        transform, numbers = Affine.scale(0), []
    if transform.is_degenerate or not all(math.isfinite(number) for number in numbers):
        raise SceneError(
            f"{path}: the GeoTransform of crs is '{text[:80]}'; six numbers that span a pixel are "
            "needed. Download the product again."
        )
    return transform


def _crs(path: Path, text: str | None) -> CRS:
    """WGS 84 where nothing is said; Proba-V products are in degrees."""
    try:
        return CRS.from_wkt(text) if text else _WGS84
    except CRSError as error:
        raise SceneError(
            f"{path}: the crs is not readable ('{(text or '')[:40]}'). Download the product again."
        ) from error
