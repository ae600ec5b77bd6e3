"""What will be done with one scene: which nets, bands and tiles; no pixels are read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from geosr.errors import SceneError, UsageError
from geosr.models import Model
from geosr.raster import Grid
from geosr.scene import Scene
from geosr.sensors.sentinel2 import GSD, sort_bands
from geosr.tiles import TileGrid, Window

TILE_SIZE = 480  # pixels of the finest grid; the margin is read on top


@dataclass(frozen=True)
class Request:
    """What the user wants of every scene.

    Attributes:
        bands: output bands by name; None is all there are.
        only_sr: leave native bands out.
        bounds: (left, bottom, right, top) in the scene's CRS, or in `bounds_crs`.
        tile_size: finished core of a tile in pixels of the finest grid.
        overlap: pixels of the finest grid to read around a core; None is the net's margin.
        options: creation options of the output, NAME to VALUE.
    """

    bands: tuple[str, ...] | None = None
    only_sr: bool = False
    bounds: tuple[float, float, float, float] | None = None
    bounds_crs: str | None = None
    tile_size: int = TILE_SIZE
    overlap: int | None = None
    format: str = "GTiff"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What will be done with one scene; made without reading pixels.

    Attributes:
        models: the nets whose bands are present and wanted.
        names: output bands in ESA order.
        grid: of the output.
        window: of the output, in the scene's finest grid.
        unit: pixels of the finest grid along a pixel of the coarsest input.
        tiles: in those coarsest pixels; they may reach past `window` by less than a pixel.
        pad: coarsest pixels read around a tile.
        notes: what is left out and why.
    """

    scene: Scene
    models: tuple[Model, ...]
    names: tuple[str, ...]
    grid: Grid
    window: Window
    unit: int
    tiles: TileGrid
    pad: int
    notes: tuple[str, ...]

    @property
    def native(self) -> tuple[str, ...]:
        """Output bands that are copied."""
        return tuple(name for name in self.names if name not in self.made)

    @property
    def made(self) -> frozenset[str]:
        """Output bands that are super-resolved."""
        return frozenset(name for model in self.models for name in model.card.bands)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of a tile in pixels of the finest grid, without its margin."""
        tile = next(iter(self.tiles)).window.at(self.unit)
        return tile.height, tile.width

    def per_unit(self, gsd: int) -> int:
        """Pixels of `gsd` along a pixel of the coarsest input."""
        return self.unit * self.scene.finest // gsd

    @cached_property
    def reads(self) -> dict[int, tuple[str, ...]]:
        """Bands to read by GSD: inputs of the nets and bands to copy."""
        wanted = {n for m in self.models for item in m.card.inputs for n in item.bands}
        names = sort_bands(wanted | set(self.native))
        gsds = sorted({GSD[name] for name in names})
        return {gsd: tuple(n for n in names if GSD[n] == gsd) for gsd in gsds}


def make_plan(scene: Scene, models: Sequence[Model], request: Request) -> Plan:
    """Choose nets and bands, check the grids, lay the tiles.

    Raises:
        SceneError: nothing can be made of this scene, or not what was asked.
    """
    notes: list[str] = []
    chosen = _choose(scene, models, request, notes)
    native = [band.name for band in scene.select(gsd=scene.finest)]
    made = [name for model in chosen for name in model.card.bands]
    names = sort_bands({*made, *([] if request.only_sr else native)})
    if request.bands is not None:
        _require(scene, request.bands, names)
        names = tuple(name for name in names if name in request.bands)
    _note_left_out(scene, names, made, request, notes)
    inputs = {item.gsd for model in chosen for item in model.card.inputs}
    if any(model.card.output.gsd != scene.finest for model in chosen):
        raise SceneError(
            f"{scene.path} has no 10 m bands, whose grid the output takes (found: "
            f"{' '.join(band.name for band in scene.bands)}). Add B2, B3, B4 and B8."
        )
    scene.check_nested(sorted(inputs | {scene.finest}))
    unit = max(inputs | {scene.finest}) // scene.finest
    window = _window(scene, request, unit)
    tiles = TileGrid(window.coarse(unit), -(-request.tile_size // unit))
    margin = max([model.card.margin for model in chosen], default=0)
    pad = -(-max(margin, request.overlap or 0) // unit)
    grid = scene.grids[scene.finest].crop(window)
    return Plan(scene, chosen, names, grid, window, unit, tiles, pad, tuple(notes))


def _choose(
    scene: Scene, models: Sequence[Model], request: Request, notes: list[str]
) -> tuple[Model, ...]:
    """The models whose bands are wanted and, of several models, not all absent."""
    present = {band.name for band in scene.bands}
    wanted = set(request.bands) if request.bands is not None else None
    asked = [m for m in models if wanted is None or wanted & set(m.card.bands)]
    chosen = []
    for model in asked:
        if len(asked) > 1 and not present & set(model.card.bands):
            notes.append(f"no {' '.join(model.card.bands)}: {model.card.name} is not run")
            continue
        names = [name for item in model.card.inputs for name in item.bands]
        scene.select(names=names)  # says what is missing
        chosen.append(model)
    if asked and not chosen:
        scene.select(names=asked[0].card.bands)
    if scene.dtype == np.uint8 and any(model.parameters for model in chosen):
        raise SceneError(
            f"{scene.path}: 8-bit values are not Sentinel-2 counts (a picture?). "
            "Give the 16-bit product; only --model bicubic takes 8 bits."
        )
    return tuple(chosen)


def _require(scene: Scene, bands: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in bands if name not in names]
    if missing:
        raise SceneError(
            f"{scene.path}: cannot give {' '.join(missing)} "
            f"(can give: {' '.join(names) or 'none'}). "
            "Change --bands, or choose a model that makes them."
        )


def _note_left_out(
    scene: Scene,
    names: Sequence[str],
    made: Sequence[str],
    request: Request,
    notes: list[str],
) -> None:
    present = [band.name for band in scene.bands]
    if "B10" in present:
        notes.append("B10 (cirrus) shows no ground and is never super-resolved: left out")
    left = [n for n in present if n not in (*made, "B10") and GSD[n] != scene.finest]
    if left and request.bands is None:
        notes.append(f"no chosen net makes {' '.join(left)}: left out")
    if not names:
        raise SceneError(f"{scene.path}: nothing to write. Drop --only-sr or choose other bands.")


def _window(scene: Scene, request: Request, unit: int) -> Window:
    """The part of the finest grid to write: whole coarse pixels over the bounds, or all."""
    if request.bounds is None:
        return scene.window
    bounds = request.bounds
    grid = scene.grids[scene.finest]
    if request.bounds_crs:
        bounds = _reproject(scene, bounds, request.bounds_crs)
    snapped = grid.covering(bounds).coarse(unit).at(unit)
    window = snapped.intersect(scene.window)
    if not window.height or not window.width:
        raise SceneError(
            f"{scene.path}: --bounds {' '.join(f'{b:.10g}' for b in bounds)} does not touch the "
            f"scene ({' '.join(f'{b:.10g}' for b in scene.grid.bounds)}). "
            "Give W S E N in the scene's CRS, or say --bounds-crs."
        )
    return window


def _reproject(
    scene: Scene, bounds: tuple[float, float, float, float], crs: str
) -> tuple[float, float, float, float]:
    if scene.grid.crs is None:
        raise SceneError(f"{scene.path} has no CRS. Give --bounds in its own coordinates.")
    try:
        source = CRS.from_user_input(crs)
        return transform_bounds(source, scene.grid.crs, *bounds)
    except (RasterioError, ValueError) as error:
        raise UsageError(f"--bounds-crs {crs}: not usable ({error}). Try EPSG:4326.") from error
