"""What a scene is, and what super-resolving it would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from geosr.errors import GeosrError
from geosr.inference import forecast
from geosr.inference.forecast import Run, Sizes
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.models.card import Model
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.scene import Scene

_WHOLE = 2**25  # pixels of a grid that are all read for `geosr info`
_LOOK = 1024  # finest pixels along a window of a larger one


def inspect(scene: Scene, models: Sequence[Model], runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Facts of a scene as plain values, ready for JSON; no net is run.

    What "superres" holds is the error where the nets do not fit the scene.

    Args:
        models: nets that would run, or outlines of them.
        runs: earlier ones on this machine, newest last; without any the time is not known.

    Raises:
        SceneError: a file is broken.
    """
    offsets = sorted({band.offset for band in scene.bands})
    return {
        "name": scene.name,
        "path": scene.path,
        "sensor": scene.sensor,
        "level": scene.level,
        "acquired": scene.acquisition.time or None,
        "platform": scene.acquisition.platform or None,
        "crs": scene.grid.crs.to_string() if scene.grid.crs else None,
        "bounds": list(scene.grid.bounds),
        "dtype": str(scene.dtype),
        "quantification": scene.quantification,
        "dn_offset": offsets[0] if len(offsets) == 1 else offsets,
        "resampled": scene.resampled or "native",
        "gsd": {gsd: _level(scene, gsd) for gsd in sorted(scene.grids)},
        "notes": [str(note) for note in scene.notes],
        "superres": _forecast(scene, models, runs),
    }


def _level(scene: Scene, gsd: int) -> dict[str, Any]:
    grid = scene.grids[gsd]
    names = [band.name for band in scene.select(gsd=gsd)]
    return {
        "bands": names,
        "grid": str(grid),
        "height": grid.height,
        "width": grid.width,
        "transform": list(grid.transform)[:6],
        "nodata_share": _nodata_share(scene, names, gsd) if names else 0.0,
    }


def _nodata_share(scene: Scene, names: Sequence[str], gsd: int) -> float:
    """Share of pixels that hold nothing or are masked; of a large scene in windows of it."""
    missing = looked = 0
    with scene.open() as reader:
        for window in _looks(scene.grids[gsd], _LOOK * scene.finest // gsd):
            sensed = reader.read(names, gsd, window).sensed
            missing, looked = missing + int((~sensed).sum()), looked + sensed.size
    return missing / looked


def _looks(grid: Grid, side: int) -> list[Window]:
    """All of a grid in strips, or nine windows of `side` of a large one."""
    height, width = grid.shape
    if height * width <= _WHOLE:
        return [Window(row, 0, min(256, height - row), width) for row in range(0, height, 256)]
    sides = min(height, side), min(width, side)
    rows, cols = (
        sorted({0, (n - own) // 2, n - own}) for n, own in zip(grid.shape, sides, strict=True)
    )
    return [Window(row, col, *sides) for row in rows for col in cols]


def _forecast(scene: Scene, models: Sequence[Model], runs: Sequence[Run]) -> dict[str, Any]:
    """Output, memory, and time where an earlier run on this machine tells it."""
    try:
        plan = make_plan(scene, models, Request(), Sizes())
    except GeosrError as error:
        return {"error": str(error)}
    pixels = plan.grid.width * plan.grid.height
    planned = forecast.work(plan, counted=True)
    told = forecast.seconds(planned, runs)
    return {
        "nets": list(planned.nets),
        "bands": list(plan.names),
        "height": plan.grid.height,
        "width": plan.grid.width,
        "tiles": len(plan.tiles),
        "bytes": pixels * len(plan.names) * plan.scene.dtype.itemsize,
        "seconds": told[0] if told else None,
        "measured": asdict(told[1]) if told else None,
        "memory": forecast.memory(plan),
        "notes": list(plan.notes),
    }
