"""Which items show the same ground, so that none of it is learnt from and held out at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from geosr.raster.grid import Grid

_TILE = re.compile(r"(?<![A-Z0-9])T(\d{2}[A-Z]{3})(?![A-Z0-9])")  # of Sentinel-2's grid
_LEVEL = re.compile(r"(?<![A-Z])L(?:1[ABC]|2[A])(?![A-Za-z0-9])|(?<=MSI)L(?:1C|2A)")
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}[-_]?[01]\d[-_]?[0-3]\d(?:T\d{6})?(?!\d)")
_CHIP = re.compile(r"(?:[_\-.](?:r|c|x|y|row|col)?\d+){2}$", re.IGNORECASE)
_BANDS = re.compile(r"[_\-.](?:pan|ms|rgb|nir)$", re.IGNORECASE)
_NOWHERE = (math.nan, math.nan, math.nan, math.nan)


def places(items: Sequence[Any], of_name: Callable[[str], str]) -> list[int]:
    """Number of the place of every item; the same one for items that show common ground.

    Items with a georeference are one place where their footprints meet, directly or through
    others; all others by what `of_name` makes of their names.

    Args:
        items: each with a `name`, and a scene's `grid` where it has one.
    """
    boxes = np.array([_box(item) for item in items], np.float64).reshape(-1, 4)
    named: dict[str, int] = {}
    found = np.arange(len(items))
    for number, item in enumerate(items):
        if np.isnan(boxes[number, 0]):
            found[number] = named.setdefault(of_name(item.name), number)
        else:
            common = np.unique(found[: number + 1][_meet(boxes[: number + 1], boxes[number])])
            found[np.isin(found, common)] = common[0]
    return found.tolist()


def of_scene(name: str) -> str:
    """Place by a scene's name: its tile, else the name without level, satellite and digits.

    Scenes whose names differ only in dates and counters are one place.
    """
    tile = _TILE.search(name)
    if tile:
        return tile[1]
    return re.sub(r"\d+", "", _LEVEL.sub("", re.sub(r"S2[A-D](?![A-Za-z0-9])", "S2", name)))


def of_image(name: str) -> str:
    """Place by an image's name: without its date, its place among chips and its kind of bands."""
    bare = _BANDS.sub("", _DATE.sub("", _BANDS.sub("", name)))
    return _CHIP.sub("", bare).strip("_-.")


def _box(item: Any) -> tuple[float, float, float, float]:
    """Middle and half the sides, in degrees of longitude and latitude; NaN where not known."""
    scene = getattr(item, "fine", getattr(item, "scene", item))
    grid: Grid | None = getattr(scene, "grid", None)
    if grid is None or grid.crs is None:
        return _NOWHERE
    try:
        west, south, east, north = transform_bounds(grid.crs, "EPSG:4326", *grid.bounds)
    except (RasterioError, ValueError):
        return _NOWHERE
    wide = east - west if west <= east else east - west + 360  # across ± 180°
    return west + wide / 2, (south + north) / 2, wide / 2, (north - south) / 2


def _meet(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether footprints have ground in common with one."""
    apart = boxes[:, :2] - box[:2]
    apart[:, 0] = (apart[:, 0] + 180) % 360 - 180
    return np.asarray((np.abs(apart) < boxes[:, 2:] + box[2:]).all(1))
