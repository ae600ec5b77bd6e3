"""Any raster as a scene: GeoTIFF, PNG, JPEG or JP2 with bands of one grid, and series of them.

The one GSD is called 1: a pixel of the image, whatever its size on the ground. What makes 1.0 for
a net follows a rule, never a guess: 8 bits 255, PNG of 16 bits 65535, other integers 10000 (as
reflectance is scaled), floats 1; `--quantification` says otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from geosr.errors import SceneError
from geosr.raster import Grid, has_mask, open_raster
from geosr.scene import Band, Note, Scene
from geosr.sensors.options import OpenOptions

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2")
GSD = 1
_FRAME = re.compile(r"(.+)_LR\d+$")
_SAMPLE = 256  # side of the decimated mask that tells how clear a frame is


def images(path: Path, pattern: str | None = None) -> list[Path]:
    """The rasters directly in a folder whose names match, sorted; or the one file."""
    if path.is_file():
        return [path]
    found = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    rasters = [p for p in found if p.suffix.lower() in SUFFIXES]
    return sorted(p for p in rasters if fnmatch(p.name, pattern or "*"))


def open_image(path: Path, options: OpenOptions) -> Scene:
    """One raster; every band by its description, or by its number where it has none.

    Raises:
        SceneError: no raster geosr opens, or one that holds no measured values.
    """
    with open_raster(path, vrt=options.vrt) as dataset:
        _check(path, dataset)
        indexes = [i for i in dataset.indexes if not _is_alpha(dataset, i)]
        names = _names([dataset.descriptions[i - 1] for i in indexes])
        nodata, grid = _nodata(dataset), Grid.of(dataset)
        dtype, driver = np.dtype(dataset.dtypes[0]), dataset.driver
    bands = tuple(
        Band(name, GSD, str(path), index, nodata=nodata)
        for name, index in zip(names, indexes, strict=True)
    )
    unit = options.quantification or _unit(dtype, driver)
    said = "as asked" if options.quantification else f"by the rule for {dtype} {driver}"
    note = Note(f"value {unit:g} counts as 1.0, {said}")
    return Scene(
        path.stem, str(path), "image", "", bands, {GSD: grid}, grid.window, dtype, unit, (note,),
        vrt=options.vrt,
    )  # fmt: skip


def _check(path: Path, dataset: Any) -> None:
    kinds = set(dataset.dtypes)
    palette = dataset.colorinterp[0] == ColorInterp.palette
    if palette or len(kinds) > 1 or any(kind.startswith("complex") for kind in kinds):
        found = "palette" if palette else " ".join(sorted(kinds))
        raise SceneError(
            f"{path}: bands of one real type are needed ({found}). Convert the file first."
        )


def _is_alpha(dataset: Any, index: int) -> bool:
    return bool(dataset.colorinterp[index - 1] == ColorInterp.alpha)


def _names(descriptions: list[str | None]) -> tuple[str, ...]:
    whole = [text.strip() for text in descriptions if text and text.strip()]
    if len(set(whole)) == len(descriptions):
        return tuple(whole)
    return tuple(str(i + 1) for i in range(len(descriptions)))


def _nodata(dataset: Any) -> float:
    """The declared value; NaN, which no integer equals, where there is none."""
    value, dtype = dataset.nodata, np.dtype(dataset.dtypes[0])
    if value is None:
        return math.nan
    outside = dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    return math.nan if outside else float(value)


def _unit(dtype: np.dtype[Any], driver: str) -> float:
    if dtype.kind == "f":
        return 1.0
    if dtype.itemsize == 1:
        return 255.0
    return 65535.0 if driver == "PNG" else 10000.0


# several images of one place


def find_series(path: Path, pattern: str | None = None) -> list[Path]:
    """A folder of rasters is one series, a folder of such folders many.

    A folder of `NAME_LR0.png`, `NAME_LR1.png` holds a series a name, given as `NAME_LR*.png`.
    """
    if path.is_file():
        return [path]
    files = images(path, pattern)
    frames = [(file, match) for file in files if (match := _FRAME.match(file.stem))]
    if frames and len(frames) == len(files):
        return list(dict.fromkeys(file.with_stem(f"{match[1]}_LR*") for file, match in frames))
    if len(files) > 1:
        return [path]
    folders = (p for p in sorted(path.iterdir()) if p.is_dir())
    return [p for p in folders if len(images(p, pattern)) > 1]


def open_series(path: Path, options: OpenOptions) -> Scene:
    """All rasters of a folder as frames of one scene, the clearest first.

    Raises:
        SceneError: fewer than two, or they differ in grid, bands or type.
    """
    named = "*" in path.name
    files = sorted(path.parent.glob(path.name)) if named else images(path, options.pattern)
    if path.is_file() or len(files) < 2:
        raise SceneError(
            f"{path}: a multi-image net needs a folder with two or more rasters of one place, "
            f"found {len(files)}. Give such a folder, or choose a single-image net."
        )
    frames = [open_image(file, options) for file in files]
    for frame in frames[1:]:
        _check_alike(frames[0], frame)
    frames.sort(key=_unclear)
    bands = tuple(replace(band, frame=i) for i, frame in enumerate(frames) for band in frame.bands)
    name = path.name.split("_LR*")[0] if named else path.resolve().name
    return replace(frames[0], name=name, path=str(path), bands=bands)


def _check_alike(first: Scene, other: Scene) -> None:
    same_bands = [b.name for b in first.bands] == [b.name for b in other.bands]
    if first.grid.ratio(other.grid) != 1 or not same_bands or first.dtype != other.dtype:
        raise SceneError(
            f"{other.path} ({other.grid}, {len(other.bands)} bands of {other.dtype}) is not on the "
            f"grid of {first.path} ({first.grid}, {len(first.bands)} bands of {first.dtype}). "
            "Warp all frames onto one grid first."
        )


def _unclear(frame: Scene) -> float:
    """Share of masked pixels, by a decimated look at the first band."""
    band = frame.bands[0]
    with open_raster(band.path, vrt=frame.vrt) as dataset:
        shape = min(dataset.height, _SAMPLE), min(dataset.width, _SAMPLE)
        values = dataset.read(band.index, out_shape=shape)
        good = values != band.nodata
        if has_mask(dataset):
            good &= dataset.read_masks(1, out_shape=shape) > 0
    return float(1 - good.mean())
