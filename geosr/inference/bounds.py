"""The part of a scene that is wanted, by bounds on the ground."""

from __future__ import annotations

import math

from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from geosr.errors import SceneError, UsageError
from geosr.raster.window import Window
from geosr.scene.scene import Scene

Bounds = tuple[float, float, float, float]  # (left, bottom, right, top)


def wanted(scene: Scene, bounds: Bounds | None, crs: str | None, unit: int) -> Window:
    """The part of the finest grid to write: whole coarse pixels over the bounds, or all.

    Args:
        crs: of the bounds; None is the scene's.
        unit: pixels of the finest grid along a coarse one.

    Raises:
        SceneError: the bounds do not touch the scene, or it has no CRS to find them in.
        UsageError: no such CRS, or bounds that are no numbers.
    """
    if bounds is None:
        return scene.window
    if not all(map(math.isfinite, bounds)):
        raise UsageError(f"--bounds {' '.join(map(str, bounds))}: four finite numbers are needed.")
    grid = scene.grids[scene.finest]
    if crs:
        bounds = _reproject(scene, bounds, crs)
    snapped = grid.covering(bounds).coarse(unit).at(unit)
    window = snapped.intersect(scene.window)
    if not window.height or not window.width:
        raise SceneError(
            f"{scene.path}: --bounds {' '.join(f'{b:.10g}' for b in bounds)} does not touch the "
            f"scene ({' '.join(f'{b:.10g}' for b in scene.grid.bounds)}). "
            "Give W S E N in the scene's CRS, or say --bounds-crs."
        )
    return window


def _reproject(scene: Scene, bounds: Bounds, crs: str) -> Bounds:
    if scene.grid.crs is None:
        raise SceneError(f"{scene.path} has no CRS. Give --bounds in its own coordinates.")
    try:
        source = CRS.from_user_input(crs)
        return transform_bounds(source, scene.grid.crs, *bounds)
    except (RasterioError, ValueError) as error:
        raise UsageError(f"--bounds-crs {crs}: not usable ({error}). Try EPSG:4326.") from error
