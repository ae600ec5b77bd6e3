"""What a scene is, and what super-resolving it would take."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from geosr.inference.plan import Plan, Request, make_plan
from geosr.models.card import Model
from geosr.raster.window import Window
from geosr.scene.scene import Scene

_PROBE = 96  # output pixels along the tile that is timed


def inspect(scene: Scene, models: Sequence[Model]) -> dict[str, Any]:
    """Facts of a scene as plain values, ready for JSON.

    Args:
        models: nets that would run; none leaves the time at that of copying.

    Raises:
        SceneError: a file is broken, or the nets do not fit the scene.
    """
    offsets = sorted({band.offset for band in scene.bands})
    return {
        "name": scene.name,
        "path": scene.path,
        "sensor": scene.sensor,
        "level": scene.level,
        "crs": scene.grid.crs.to_string() if scene.grid.crs else None,
        "bounds": list(scene.grid.bounds),
        "dtype": str(scene.dtype),
        "quantification": scene.quantification,
        "dn_offset": offsets[0] if len(offsets) == 1 else offsets,
        "resampled": scene.resampled or "native",
        "gsd": {gsd: _level(scene, gsd) for gsd in sorted(scene.grids)},
        "notes": [str(note) for note in scene.notes],
        "superres": _forecast(make_plan(scene, models, Request())),
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
    """Share of pixels that hold nothing or are masked, read in strips of 256 rows."""
    grid, missing = scene.grids[gsd], 0
    with scene.open() as reader:
        for row in range(0, grid.height, 256):
            height = min(256, grid.height - row)
            missing += int(
                (~reader.read(names, gsd, Window(row, 0, height, grid.width)).sensed).sum()
            )
    return missing / (grid.height * grid.width * len(names))


def _forecast(plan: Plan) -> dict[str, Any]:
    """Output, time and memory; each net is timed on one small tile."""
    pixels = plan.grid.width * plan.grid.height
    side = math.prod(n + 2 * plan.pad * plan.zoom for n in plan.tile_shape)
    computed = side * len(plan.tiles)
    seconds = pixels * len(plan.names) / 40e6  # reading and compressing, Mpixel/s of one core
    for model in plan.models:
        seconds += computed * _seconds_per_pixel(model)
    widest = max((_widest(model) for model in plan.models), default=0)
    strip = plan.grid.width * plan.tile_shape[0] * (len(plan.names) + 12) * 4
    return {
        "nets": [model.card.name for model in plan.models],
        "bands": list(plan.names),
        "height": plan.grid.height,
        "width": plan.grid.width,
        "tiles": len(plan.tiles),
        "bytes": pixels * len(plan.names) * plan.scene.dtype.itemsize,
        "seconds": seconds,
        "memory": 400 * 2**20 + 2 * strip + 4 * side * widest * 4,
        "notes": list(plan.notes),
    }


def _widest(model: Model) -> int:
    """Channels of the net's widest layer."""
    convolutions = (m for m in model.net.modules() if isinstance(m, torch.nn.Conv2d))
    return max((m.out_channels for m in convolutions), default=len(model.card.bands))


@torch.inference_mode()
def _seconds_per_pixel(model: Model) -> float:
    card = model.card
    inputs = {
        item.gsd: torch.zeros(1, len(item.bands), *[_PROBE * card.output.gsd // item.gsd] * 2)
        for item in card.inputs
    }
    model(inputs)
    started = time.perf_counter()
    model(inputs)
    return (time.perf_counter() - started) / (_PROBE * _PROBE)
