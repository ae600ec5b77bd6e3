"""Creation options of outputs, tried on a small raster in memory before any work."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from geosr.errors import SceneError, UsageError, cause
from geosr.raster.files import SETTINGS
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.raster.writer import Layout, copied, profile

_SIDE = 64  # pixels of the small raster at most
_OF_THE_SCENE = ("DRIVER", "WIDTH", "HEIGHT", "COUNT", "DTYPE", "CRS", "TRANSFORM", "NODATA")
_ASIDE = ("TFW", "WORLDFILE", "RPB", "RPCTXT")  # files under names that geosr does not publish
_REFUSED = ("does not support creation option", "is an unexpected value", "not recognised")
_ANY = Grid(CRS.from_epsg(32633), Affine(10, 0, 399960, 0, -10, 5600040), _SIDE, _SIDE)
_TYPES = (np.uint16, np.float32, np.uint8)


def require_options(format: str, options: Mapping[str, str]) -> None:
    """Check before any work that outputs of a format can be made with creation options.

    Raises:
        UsageError: GDAL does not know one, refuses them for every type of pixels, or other pixels
            come back than were written.
    """
    for name in options:
        if name.upper() in (*_OF_THE_SCENE, *_ASIDE):
            why = "comes from the scene" if name.upper() in _OF_THE_SCENE else (
                "writes a file beside the output, which geosr does not")  # fmt: skip
            raise UsageError(f"--co {name}={options[name]}: {name.upper()} {why}. Leave it out.")
    failures: list[SceneError] = []
    for dtype in _TYPES:
        try:
            return try_options(Layout(_ANY, ("1", "2", "3"), np.dtype(dtype), 0, format=format,
                                      options=options))  # fmt: skip
        except SceneError as error:
            failures.append(error)
    raise UsageError(str(failures[0]))


def try_options(layout: Layout) -> None:
    """Write a small raster with the creation options of an output, and read it back.

    Raises:
        SceneError: GDAL does not know an option or refuses it, or something else comes back.
    """
    if not layout.options:
        return
    rows, cols = (min(size, _SIDE) for size in layout.grid.shape)
    small = replace(layout, grid=layout.grid.crop(Window(0, 0, rows, cols)))
    high = 1.0 if small.dtype.kind == "f" else min(np.iinfo(small.dtype).max, 10000)
    shape = (len(small.names), rows, cols)
    values = (np.random.default_rng(0).random(shape) * high).astype(small.dtype)
    with _warnings() as said:
        try:
            wrong = _difference(small, values)
        except Exception as error:  # GDAL's driver errors are not all RasterioErrors
            wrong = cause(error)
    refused = [text for text in said if any(words in text for words in _REFUSED)]
    if wrong or refused:
        given = " ".join(f"{name}={value}" for name, value in layout.options.items())
        raise SceneError(
            f"--co {given}: a {layout.format} of {layout.dtype} cannot be made so "
            f"({(refused or [wrong])[0]}). Correct it, or leave it out."
        )


def _difference(layout: Layout, values: NDArray[np.generic]) -> str:
    """What comes back otherwise than it was written; "" where nothing does."""
    with rasterio.Env(**SETTINGS), MemoryFile(filename="output.tif") as made, MemoryFile() as copy:
        with rasterio.open(made.name, "w", **profile(layout)) as dataset:
            dataset.write(values)
        if layout.format != "GTiff":
            copied(Path(made.name), Path(copy.name), layout)
        with rasterio.open(made.name if layout.format == "GTiff" else copy.name) as dataset:
            placed = Grid.of(dataset) == layout.grid and dataset.nodata == layout.nodata
            if layout.format != "PNG" and not placed:
                return "the raster would lie on another grid, or lose its CRS or nodata"
            read = dataset.read()
    same = read.dtype == values.dtype and np.array_equal(read, values)
    return "" if same else "pixels would not come back as they were written"


@contextmanager
def _warnings() -> Iterator[Sequence[str]]:
    """What GDAL warns of meanwhile, by rasterio's logger."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage().partition(" in ")[2] or record.getMessage())

    logger, listener = logging.getLogger("rasterio._env"), Listener(logging.WARNING)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate
