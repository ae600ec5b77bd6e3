"""Does an output, seen by its own sensor again, give back the input?

Super-resolved bands are degraded by the sensor's point spread (`geosr.scene.pointspread`) and
compared with the bands they were made of. A detail that the sensor could not have missed, or a
shift of brightness, shows; a detail below its resolution cannot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.inference.plan import Plan
from geosr.metrics.full_reference import Scores
from geosr.raster.files import has_mask, open_raster, read_mask, read_window
from geosr.raster.window import Window
from geosr.scene import degrade, resample
from geosr.scene.pixels import Reader, fold
from geosr.scene.radiometry import reflectance

_ROWS = 128  # coarse rows at a time


@dataclass(frozen=True)
class Check:
    """How far the degraded output is from the input.

    Attributes:
        rmse: by super-resolved band, counts of 10000 to 1.0; None where nothing can be compared.
        sam: degrees, by GSD over the bands of it; None for a single band.
    """

    rmse: dict[str, float | None]
    sam: dict[str, float | None]

    @property
    def worst(self) -> float:
        """The largest RMSE."""
        return max((value for value in self.rmse.values() if value is not None), default=0.0)


def check(output: Path, plan: Plan, reader: Reader) -> Check:
    """Degrade the super-resolved bands of `output` and compare with the scene it was made of.

    Reads bounded windows; pixels count whose whole point spread was sensed.
    """
    rmse: dict[str, float | None] = {}
    sam: dict[str, float | None] = {}
    with open_raster(output) as dataset:
        for gsd, names in predicted_of(plan).items():
            scores = Scores(names, extra=False)
            for window in windows(plan, gsd):
                scores.add(*compare(dataset, plan, reader, names, window))
            rmse |= {name: scores.rmse[name] for name in names}
            sam[str(gsd)] = scores.sam if len(names) > 1 else None
    return Check(rmse, sam)


def require(found: Check, limit: float | None, path: str) -> None:
    """Raise where a band departs by more than `limit` counts.

    Raises:
        SceneError: names the band.
    """
    if limit is None or found.worst <= limit:
        return
    name = next(n for n, v in found.rmse.items() if v is not None and v == found.worst)
    raise SceneError(
        f"{path}: {name}, degraded to its own resolution, differs from the input by "
        f"{found.worst:.1f} counts (RMSE), more than --check-limit {limit:g}. "
        "Look at the input, raise the limit, or use other weights."
    )


def predicted_of(plan: Plan) -> dict[int, tuple[str, ...]]:
    """The super-resolved bands of the output by their native GSD, as far as the scene has them."""
    made = [n for n in plan.names if n in plan.predicted and plan.band(n) == n]
    gsds = sorted({plan.scene.gsd(name) for name in made})
    return {gsd: tuple(n for n in made if plan.scene.gsd(n) == gsd) for gsd in gsds}


def windows(plan: Plan, gsd: int) -> Iterator[Window]:
    """Whole coarse pixels inside the output's window, some rows at a time."""
    k = gsd // plan.scene.finest
    row, col = (-(-start // k) for start in plan.window[:2])
    bottom = (plan.window.row + plan.window.height) // k
    right = (plan.window.col + plan.window.width) // k
    for top in range(row, bottom, _ROWS):
        yield Window(top, col, min(_ROWS, bottom - top), right - col)


def compare(
    dataset: Any, plan: Plan, reader: Reader, names: Sequence[str], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Input, degraded output and where they can be compared, in a window of the input's grid."""
    if plan.continuous:
        return _compare_any(dataset, plan, reader, names, window)
    scene, gsd = plan.scene, plan.scene.gsd(names[0])
    factor = plan.per_pixel(names[0])
    taps = [plan.taps(name) for name in names]
    pad = max(degrade.beyond(weights, factor) for weights in taps)
    corner = (plan.window.row * plan.finer, plan.window.col * plan.finer)
    values, valid = _read(
        dataset, plan, names, window.at(factor).shift(-corner[0], -corner[1]), pad
    )
    fine = reflectance(scene, names, values)
    low = degrade.shrink_each(fine, factor, taps, pad=pad)
    whole = degrade.shrink_each(valid.astype(np.float32), factor, taps, pad=pad) > 0.9999
    pixels = reader.read(names, gsd, window)
    truth = reflectance(scene, names, pixels.values.astype(np.float32))
    return truth, low, whole & pixels.usable


def _compare_any(
    dataset: Any, plan: Plan, reader: Reader, names: Sequence[str], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The same of an output of any scale, by an image sensor's point spread."""
    scene, factor = plan.scene, plan.continuous
    pad = resample.pad(factor)
    own = window.shift(-plan.window.row, -plan.window.col)
    fine, down, across = resample.seen(own, factor, "sensor")
    values, valid = _read(dataset, plan, names, fine, pad)
    low = resample.shrink(reflectance(scene, names, values), down, across)
    whole = resample.shrink(valid.astype(np.float32), down, across) > 0.9999
    pixels = reader.read(names, scene.gsd(names[0]), window)
    truth = reflectance(scene, names, pixels.values.astype(np.float32))
    return truth, low, whole & pixels.usable


def _read(
    dataset: Any, plan: Plan, names: Sequence[str], window: Window, pad: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Counts of the output in a window and `pad` around it, edges repeated, and their validity."""
    folded = fold(window.grow(pad), dataset.height, dataset.width)
    indexes = [plan.names.index(name) + 1 for name in names]
    values = read_window(dataset, indexes, folded.hull)
    valid = np.ones(values.shape, bool)
    if dataset.nodata is not None:
        same = np.isnan(values) if math.isnan(dataset.nodata) else values == dataset.nodata
        valid &= ~same
    if has_mask(dataset):
        mask = read_mask(dataset, folded.hull)
        valid &= True if mask is None else mask
    at = (slice(None), *folded.index)
    return np.where(valid, values, 0)[at].astype(np.float32), valid[at]
