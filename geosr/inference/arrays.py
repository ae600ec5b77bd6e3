"""Sentinel-2 bands in memory: numpy arrays by GSD, read like a scene and sharpened like one.

Arrays are (bands, rows, cols). Bands come in the order of DSen2: `d10` is B2 B3 B4 B8, `d20` is
B5 B6 B7 B8A B11 B12, `d60` is B1 B9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.inference.superres import Counts, output_rows, warn_of
from geosr.models.card import Model
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.band import Band
from geosr.scene.pixels import Pixels, fold
from geosr.scene.scene import Scene, as_pixels

BANDS: Mapping[int, tuple[str, ...]] = {
    10: ("B2", "B3", "B4", "B8"),
    20: ("B5", "B6", "B7", "B8A", "B11", "B12"),
    60: ("B1", "B9"),
}
_NAME = "arrays"  # of such a scene, in messages


@dataclass(frozen=True)
class ArrayReader:
    """Reads windows of arrays; windows past the edges are padded symmetrically, as of files."""

    scene: Scene
    arrays: Mapping[int, NDArray[Any]]

    @property
    def grids(self) -> Mapping[int, Grid]:
        """The scene's grids by GSD."""
        return self.scene.grids

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands `names` in `window` of the grid of `gsd`.

        Raises:
            SceneError: a band is missing.
        """
        bands = self.scene.select(names=names, gsd=gsd, frame=frame)
        folded = fold(window, *self.grids[gsd].shape)
        rows, cols = folded.hull.within(self.grids[gsd].window)
        values = self.arrays[gsd][[band.index - 1 for band in bands], rows, cols]
        return folded.take(as_pixels(self.scene, bands, values, np.ones(values.shape, bool)))

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Never: arrays say by their nodata what was not sensed."""
        return False


def reader_of(
    arrays: Mapping[int, NDArray[Any]],
    *,
    nodata: float | None = 0.0,
    offset: float = 0.0,
    quantification: float = 10000.0,
) -> ArrayReader:
    """A reader of Sentinel-2 bands by GSD, in one type that holds the counts of all.

    Raises:
        SceneError: not (bands, rows, cols), other bands than `BANDS`, grids that do not nest, or
            a type that holds no counts.
    """
    _check(arrays)
    dtype = _common_type(arrays)
    none = math.nan if nodata is None else float(nodata)
    fine = arrays[10].shape[1:]
    grids = {gsd: _grid(gsd, *array.shape[1:]) for gsd, array in arrays.items()}
    bands = tuple(
        Band(name, gsd, _NAME, index, offset=offset, nodata=none)
        for gsd in arrays
        for index, name in enumerate(BANDS[gsd], 1)
    )
    scene = Scene(_NAME, _NAME, "sentinel2", "", bands, grids, Window(0, 0, *fine), dtype,
                  quantification)  # fmt: skip
    return ArrayReader(scene, {gsd: array.astype(dtype) for gsd, array in arrays.items()})


def sharpened(
    reader: ArrayReader,
    models: Sequence[Model],
    *,
    request: Request,
    engine: Engine,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The bands that the nets make of an array scene: their names, and (bands, rows, cols).

    Args:
        progress: called with the tiles finished since the last call, and the number in all.

    Raises:
        SceneError: the nets do not fit the bands, or give no numbers.
    """
    plan = make_plan(reader.scene, models, request, engine)
    total, counts = len(plan.tiles) * len(plan.nets), Counts()
    out = np.empty((len(plan.names), *plan.grid.shape), reader.scene.dtype)
    with closing(strips(reader, plan, engine, progress=lambda n: progress(n, total))) as made:
        for strip in made:
            rows = output_rows(strip, plan, reader.scene.dtype, counts)
            out[:, *plan.made(strip.window).within(plan.grid.window)] = rows
    warn_of(reader.scene, counts)
    return tuple(plan.names), out


def _grid(gsd: int, height: int, width: int) -> Grid:
    return Grid(None, Affine.scale(gsd, -gsd), width, height)


def _common_type(arrays: Mapping[int, NDArray[Any]]) -> np.dtype[Any]:
    """The type of all counts: that of the arrays, float32 for half floats.

    Raises:
        SceneError: truth values, complex numbers or objects.
    """
    dtype = np.result_type(*arrays.values())
    if dtype.kind not in "iuf":
        raise SceneError(f"arrays of {dtype} hold no counts. Give integers or floats.")
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _check(arrays: Mapping[int, NDArray[Any]]) -> None:
    height, width = arrays[10].shape[-2:]
    for gsd, array in arrays.items():
        names, k = BANDS[gsd], gsd // 10
        wanted = (len(names), height // k, width // k)
        if array.ndim != 3 or array.shape != wanted or height % k or width % k or not array.size:
            raise SceneError(
                f"d{gsd} has shape {array.shape}, not (bands, rows, cols) of {' '.join(names)} "
                f"with pixels of {k} × {k} of those of d10, whose shape is {arrays[10].shape}. "
                f"{_advice(array, len(names), k)}"
            )


def _advice(array: NDArray[Any], bands: int, k: int) -> str:
    if array.ndim == 3 and array.shape[2] == bands != array.shape[0]:
        return f"Move its bands first: np.moveaxis(d{10 * k}, -1, 0)."
    return "Choose those bands, and crop all arrays to whole coarse pixels."
