"""What will be done with one scene: which nets, bands and tiles; no pixels are read for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, SceneError
from geosr.inference.binding import UNCERTAINTY, Bound, bind, for_any_raster, output_scale
from geosr.inference.bounds import wanted
from geosr.inference.consistency import REACH, REFINED
from geosr.inference.engine import Engine
from geosr.inference.request import Request
from geosr.inference.tiles import TileGrid, best_shape
from geosr.models.card import Model, ModelCard
from geosr.raster.grid import Grid
from geosr.raster.lattice import Lattice, finer_window
from geosr.raster.window import Window
from geosr.raster.writer import block_width
from geosr.scene import degrade, pointspread
from geosr.scene.frames import FrameSelection, first_frames
from geosr.scene.scene import Scene

STRIP = 2_500_000  # output pixels of a row of tiles at most: what is read and made of them waits
_PANEL = 3000  # output pixels along it, roughly: else it would be low, and half of it margin
_LARGEST_ROW = 2**30  # bytes of a row of tiles in fp32; several times as much is needed
_BLENDED_TILE = 480  # output pixels of a net that blends: its pixels hang on the tile
_FINE_TILE = 768  # of one that makes a finer grid than its inputs
_MOST_TILE = 512  # input pixels of that one


@dataclass(frozen=True)
class Plan:
    """What will be done with one scene; made without reading pixels.

    Attributes:
        nets: those whose bands are present and wanted.
        names: output bands in the scene's order.
        grid: of the output.
        window: of the output, in the scene's finest grid.
        unit: pixels of the finest grid along a pixel of the coarsest input.
        finer: output pixels along a pixel of the finest grid; of nets of any scale rounded up.
        tiles: in those coarsest pixels; they may reach past `window` by less than a pixel. A wide
            scene has them in panels.
        pad: coarsest pixels read around a tile; a net may be given fewer of them.
        notes: what is left out and why.
        selection: the frames that are read, registered and of one brightness.
        agrees: predictions are made consistent with the input.
        ensemble: orders of the frames whose predictions are averaged.
        continuous: what `finer` is rounded up from, of a net of any scale; else 0. Output pixels
            then lie as `geosr.raster.lattice` says, and `unit` is 1.
        fit: how a net learned on the scene, where one did.
        refine: how they are refined to that end; "" is not at all.
        spread: by band σ in output pixels of its point spread, where the scene told it.
    """

    scene: Scene
    nets: tuple[Bound, ...]
    names: tuple[str, ...]
    grid: Grid
    window: Window
    unit: int
    finer: int
    tiles: TileGrid
    pad: int
    notes: tuple[str, ...]
    selection: FrameSelection
    agrees: bool = False
    ensemble: int = 1
    continuous: float = 0.0
    fit: Mapping[str, Any] = field(default_factory=dict)
    refine: str = ""
    spread: Mapping[str, float] = field(default_factory=dict)

    @property
    def models(self) -> tuple[Model, ...]:
        """The nets, each once."""
        return tuple({net.model.card.name: net.model for net in self.nets}.values())

    @property
    def native(self) -> tuple[str, ...]:
        """Output bands that are copied."""
        predicted = self.predicted | self.uncertain
        return tuple(name for name in self.names if name not in predicted)

    @property
    def predicted(self) -> frozenset[str]:
        """Output bands that are super-resolved."""
        made = {name for net in self.nets for name in net.bands}
        return frozenset(made - self.measured)

    @property
    def measured(self) -> frozenset[str]:
        """What a net tells though the scene has it on the output's grid: it is copied."""
        if self.finer > 1:
            return frozenset()
        return frozenset(band.name for band in self.scene.select(gsd=self.scene.finest))

    @cached_property
    def stands_for(self) -> Mapping[str, str]:
        """Bands that nobody sensed there, and the band of the scene that they are told from."""
        return {
            name: net.inputs[0][2][0]
            for net in self.nets
            if net.model.card.task == "spectral"
            for name in net.bands
            if name not in self.measured
        }

    @property
    def uncertain(self) -> frozenset[str]:
        """Output bands that say how uncertain another one is."""
        bands = {name for net in self.nets for name in net.bands}
        return frozenset(name for net in self.nets for name in net.outputs) - bands

    def band(self, name: str) -> str:
        """The scene's band that an output band is, speaks of or is told from."""
        name = name.removesuffix(UNCERTAINTY) if name in self.uncertain else name
        return self.stands_for.get(name, name)

    @property
    def zoom(self) -> int:
        """Output pixels along a pixel of the coarsest input."""
        return self.unit * self.finer

    @property
    def overlap(self) -> int:
        """Rows of the finest grid that are read for a row of tiles and for the next one too.

        Its pad, and the pad of what fills gaps in that.
        """
        shared = (
            above.stop - below.start
            for panel in self.tiles.panels
            for above, below in pairwise(panel.rows)
        )
        return (max(shared, default=0) + 4 * self.pad) * self.unit

    @cached_property
    def lattices(self) -> tuple[Lattice, Lattice]:
        """Output pixels along the coarsest input pixels, down and across."""
        scale = self.continuous or self.zoom
        return Lattice(self.tiles.window.height, scale), Lattice(self.tiles.window.width, scale)

    def made(self, window: Window) -> Window:
        """The output's own pixels that a window of the finest grid gives, as far as wanted."""
        kept = window.intersect(self.window)
        if self.continuous:
            return finer_window(kept, self.window, self.continuous)
        return kept.shift(-self.window.row, -self.window.col).at(self.finer)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of the largest tile in output pixels, without its margin."""
        return max(self.tile_shapes)

    @property
    def tile_shapes(self) -> Counter[tuple[int, int]]:
        """How many tiles are (height, width) output pixels, without margins; one shape a panel."""
        shapes = Counter[tuple[int, int]]()
        for panel in self.tiles.panels:
            height, width = panel.shape
            shapes[height * self.zoom, width * self.zoom] += len(panel)
        return shapes

    @property
    def tile_size(self) -> int:
        """Side of a tile's core at most, in pixels of the finest grid."""
        return max(self.tiles.size, self.tiles.width or 0) * self.unit

    def per_unit(self, gsd: int) -> int:
        """Pixels of `gsd` along a pixel of the coarsest input."""
        return self.unit * self.scene.finest // gsd

    def per_pixel(self, name: str) -> int:
        """Output pixels along a native pixel of a band."""
        return self.scene.gsd(self.band(name)) // self.scene.finest * self.finer

    def taps(self, name: str) -> NDArray[np.float64]:
        """A band's point spread in output pixels: as the scene told it, or as its sensor's is."""
        factor = self.per_pixel(name)
        if name in self.spread:
            return degrade.point_spread(factor, self.spread[name])
        gsd = self.scene.finest / self.finer
        if self.finer > 1 and self.scene.sensor == "sentinel2":
            return degrade.point_spread(factor, pointspread.at(self.band(name), gsd) / gsd)
        return degrade.of_band(name, factor, gsd)

    @cached_property
    def reads(self) -> dict[int, tuple[str, ...]]:
        """Bands to read by GSD: inputs of the nets and bands to copy."""
        wanted = {name for net in self.nets for _, _, names in net.inputs for name in names}
        names = self.scene.order(wanted | set(self.native))
        gsds = sorted({self.scene.gsd(name) for name in names})
        return {gsd: tuple(n for n in names if self.scene.gsd(n) == gsd) for gsd in gsds}


def make_plan(
    scene: Scene,
    models: Sequence[Model],
    request: Request,
    engine: Engine = Engine(),  # noqa: B008 - frozen
) -> Plan:
    """Choose nets and bands, check the grids, lay the tiles that the engine has memory for.

    Raises:
        SceneError: nothing can be made of this scene, or not what was asked.
    """
    notes: list[str] = []
    chosen = bind(scene, models, request, notes)
    any_raster = for_any_raster(models)
    finer, continuous = output_scale(scene, models, chosen)
    guide_alone = any_raster or scene.sensor != "sentinel2"  # which is no band of the output
    copied = () if guide_alone or request.only_sr else scene.select(gsd=scene.finest)
    native = [band.name for band in copied]
    names = _ordered(scene, chosen, native)
    if request.bands is not None:
        if missing := [name for name in request.bands if name not in names]:
            raise _cannot_give(missing, scene, models, request, native)
        names = tuple(name for name in names if name in request.bands)
    if not any_raster:
        _note_left_out(scene, chosen, request, notes)
    if request.uncertainty:
        names = (*names, *(f"{name}{UNCERTAINTY}" for name in names))
    if not names:
        raise SceneError(f"{scene.path}: nothing to write. Drop --only-sr or choose other bands.")
    inputs = {gsd for net in chosen for _, gsd, _ in net.inputs}
    scene.check_nested(sorted(inputs | {scene.finest}))
    unit = max(inputs | {scene.finest}) // scene.finest
    window = wanted(scene, request.bounds, request.bounds_crs, unit)
    chosen = tuple(
        replace(net, pad=_around(net, unit, finer, scene.finest, request)) for net in chosen
    )
    pad = max([net.pad for net in chosen], default=-(-(request.overlap or 0) // unit))
    cropped = scene.grids[scene.finest].crop(window)
    grid = cropped.finer_by(continuous) if continuous else cropped.finer(finer)
    if grid.width * grid.height > request.max_pixels:
        raise SceneError(
            f"{scene.path}: the output would have {grid.height} × {grid.width} px, more than "
            f"{request.max_pixels:,} (a damaged header?). Give --bounds, or a larger --max-pixels."
        )
    tiles = _tiles(window, unit, finer, chosen, pad, request, engine)
    _check_rows(scene, tiles, (unit * finer) ** 2 * len(names))
    frames = max((net.model.card.frames for net in chosen), default=1)
    selection = first_frames(min(frames, scene.frames))
    return Plan(scene, chosen, names, grid, window, unit, finer, tiles, pad, tuple(notes),
                selection, request.agrees, request.ensemble, continuous,
                refine=request.refine)  # fmt: skip


def _around(net: Bound, unit: int, finer: int, finest: int, request: Request) -> int:
    """How many of the coarsest pixels a net is given around a tile: as far as it looks."""
    card = net.model.card
    pad = max(-(-card.margin // (unit * finer)), -(-(request.overlap or 0) // unit), card.blend)
    if request.agrees:
        pad += -(-REACH * (net.target // finest) // unit)
        pad = max(pad, -(-REFINED // (unit * finer)) if request.refine else 0)
    return pad


def _check_rows(scene: Scene, tiles: TileGrid, values: int) -> None:
    """Whether a row of tiles, with so many values a pixel, fits into memory: it is read whole."""
    pixels = max(panel.shape[0] * panel.window.width for panel in tiles.panels)
    size = pixels * values * np.dtype(np.float32).itemsize
    if size > _LARGEST_ROW:
        raise SceneError(
            f"{scene.path}: it is {scene.grid.width:,} px wide, one row of tiles takes "
            f"{size / 2**30:.1f} GiB, more than {_LARGEST_ROW >> 30}. Give --bounds."
        )


def _tiles(
    window: Window, unit: int, finer: int, nets: Sequence[Bound], pad: int, request: Request,
    engine: Engine,
) -> TileGrid:  # fmt: skip
    """Tiles over `window` of the finest grid; `pad` is in the coarsest pixels.

    Of nets that blend they are at least two ramps wide, or more than two would meet in a place.
    """
    cards = [net.model.card for net in nets]
    borders = _borders(window, unit, finer, cards, request)
    window = window.coarse(unit)
    if request.tile_size or any(card.blend or card.task == "misr" for card in cards):
        own = min([card.tile * unit for card in cards if card.tile], default=_MOST_TILE)
        size = request.tile_size or min(_blended_tile(finer), own)
        size = max([-(-size // unit), *(2 * card.blend for card in cards)])
        return TileGrid(window, size, None, borders)
    coarsest = max((net.coarsest for net in nets), default=1)
    areas = [engine.area(net.model) * net.coarsest**2 // coarsest**2 for net in nets]
    widest = max(b - a for a, b in pairwise((0, *borders, window.width)))
    rows = STRIP // (widest * (unit * finer) ** 2)
    shape = best_shape((window.height, widest), pad, min(areas, default=STRIP), rows)
    return TileGrid(window, *shape, borders)


def _borders(
    window: Window, unit: int, finer: int, cards: Sequence[ModelCard], request: Request
) -> tuple[int, ...]:
    """Where panels of a wide output meet, spread evenly: in the coarsest pixels from its left edge.

    They do on whole blocks of the output, so that each is written once. There are none of nets that
    blend, which need what lies beside, of those of several images and of any scale.
    """
    block = block_width(request.format, request.options)
    single = any(card.blend or card.continuous or card.task == "misr" for card in cards)
    count = -(-window.width * finer // _PANEL)
    if single or not block or count == 1 or not request.panels:
        return ()
    coarse, zoom = window.coarse(unit), unit * finer
    outside = (window.col - coarse.col * unit) * finer  # output pixels that tiles begin before it
    step = math.lcm(block, zoom) // zoom
    first = next((n for n in range(step) if (n * zoom - outside) % block == 0), None)
    if first is None:
        return ()
    nearest = {first + round((i * coarse.width / count - first) / step) * step
               for i in range(1, count)}  # fmt: skip
    return tuple(sorted(at for at in nearest if 0 < at < coarse.width))


def _blended_tile(finer: int) -> int:
    return _BLENDED_TILE if finer == 1 else min(_FINE_TILE // finer, _MOST_TILE)


def _ordered(scene: Scene, nets: Sequence[Bound], native: Sequence[str]) -> tuple[str, ...]:
    """Names of the output's bands in the scene's order; in a net's, where it tells new ones."""
    made = [name for net in nets for name in net.bands]
    if any(net.model.card.task == "spectral" for net in nets):
        own = {band.name for band in scene.select(gsd=scene.finest)}
        return tuple(dict.fromkeys(n for n in (*made, *native) if n in native or n not in own))
    return scene.order({*native, *made})


def _cannot_give(
    missing: Sequence[str], scene: Scene, models: Sequence[Model], request: Request,
    native: Sequence[str],
) -> SceneError:  # fmt: skip
    """The error for bands that no net makes of a scene, with those that could be had."""
    try:
        chosen = bind(scene, models, replace(request, bands=None), [])
        names = _ordered(scene, chosen, native)
    except GeosrError:
        names = tuple(native)
    return SceneError(
        f"{scene.path}: cannot give {' '.join(missing)} "
        f"(can give: {' '.join(names) or 'none'}). "
        "Change --bands, or choose a model that makes them."
    )


def _note_left_out(
    scene: Scene, chosen: Sequence[Bound], request: Request, notes: list[str]
) -> None:
    present = [band.name for band in scene.bands]
    predicted = {name for net in chosen for name in net.bands}
    if "B10" in present:
        notes.append("B10 (cirrus) shows no ground and is never super-resolved: left out")
    left = [n for n in present if n not in (*predicted, "B10") and scene.gsd(n) != scene.finest]
    if left and request.bands is None:
        notes.append(f"no chosen net makes {' '.join(left)}: left out")
