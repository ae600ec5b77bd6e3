"""What will be done with one scene: which nets, bands and tiles; no pixels are read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError, UsageError
from geosr.inference.bounds import wanted
from geosr.inference.consistency import REACH, REFINED
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import FitOptions
from geosr.inference.tiles import TileGrid, best_shape
from geosr.inference.video import of_video
from geosr.inference.zoom import at_gsd, check_zoom
from geosr.models.card import ANY, Model, ModelCard
from geosr.models.nets.guided.anypair import is_template
from geosr.raster.grid import Grid
from geosr.raster.lattice import Lattice, finer_window
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.scene.frames import FrameOptions, FrameSelection, first_frames
from geosr.scene.pointspread import FINEST
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions

UNCERTAINTY = "_uncertainty"  # behind the name of a band
_STRIP = 6_000_000  # output pixels of a row of tiles at most: what is read and made of them waits
_LARGEST_ROW = 2**30  # bytes of a row of tiles in fp32; several times as much is needed
_BLENDED_TILE = 480  # output pixels of a net that blends: its pixels hang on the tile
_FINE_TILE = 768  # of one that makes a finer grid than its inputs
_MOST_TILE = 512  # input pixels of that one


@dataclass(frozen=True)
class Request:
    """What the user wants of every scene.

    Attributes:
        bands: output bands by name; None is all there are.
        only_sr: leave native bands out.
        bounds: (left, bottom, right, top) in the scene's CRS, or in `bounds_crs`.
        tile_size: side of a tile's finished core in pixels of the finest input grid; None is what
            fits into the engine's memory, and a fixed size for nets that blend.
        overlap: pixels of the finest grid to read around a core; None is the net's margin.
        options: creation options of the output, NAME to VALUE.
        max_pixels: of an output's grid at most.
        frames: how several images of a place are prepared.
        ensemble: orders of the frames whose results are averaged.
        uncertainty: give every band's, `NAME_uncertainty`, where the net tells it.
        consistent: make the output degrade exactly to the input.
        refine: what else is done to that end, one of `consistency.REFINEMENTS`; "" is nothing.
        skip_empty: write nothing where nothing was sensed.
        tmp_dir: where the output lies until it is whole; None is beside it.
        gsd: metres of an output pixel, for nets of any scale; None is what the nets make.
        fit: how nets that learn on the scene do so.
        overviews: give a GeoTIFF overviews; a COG has them anyway.
    """

    bands: tuple[str, ...] | None = None
    only_sr: bool = False
    bounds: tuple[float, float, float, float] | None = None
    bounds_crs: str | None = None
    tile_size: int | None = None
    overlap: int | None = None
    format: str = "GTiff"
    options: Mapping[str, str] = field(default_factory=dict)
    frames: FrameOptions = FrameOptions()  # noqa: RUF009 - frozen
    ensemble: int = 1
    uncertainty: bool = False
    consistent: bool = False
    max_pixels: int = 4_000_000_000
    skip_empty: bool = False
    tmp_dir: Path | None = None
    gsd: float | None = None
    fit: FitOptions = FitOptions()  # noqa: RUF009 - frozen
    overviews: bool = False
    refine: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the output is to degrade exactly to the input, one way or another."""
        return self.consistent or bool(self.refine)


def scene_options(models: Sequence[Model], options: OpenOptions) -> OpenOptions:
    """How scenes are read for these nets: what counts as a scene, and as reflectance 1.0.

    Args:
        options: a `window` of 0 is that of no video.

    Raises:
        UsageError: nets of several kinds, or ones that do not take a window of that many frames.
    """
    told = [model.card.name for model in models if model.card.task == "change"]
    if told:
        raise UsageError(f"'{told[0]}' tells what changed. Run geosr change A B OUT --net FILE.")
    kinds = {model.card.scenes for model in models}
    if len(kinds) > 1:
        raise UsageError("guided nets and nets for any raster do not go together. Run them apart.")
    if options.guide and kinds != {"pair"}:
        named = ", ".join(model.card.name for model in models)
        raise UsageError(
            f"{named} takes no --guide. Leave it out, or choose --model gsa, mtf-glp, landsat-ps …"
        )
    quantification = options.quantification or models[0].card.quantification or None
    kind, window = of_video([model.card for model in models], kinds.pop(), options.window)
    return replace(options, kind=kind, quantification=quantification, max_pixels=None,
                   window=window)  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """A net bound to bands of a scene: band by band it comes once for every band.

    Attributes:
        inputs: GSD on the card, GSD and names in the scene; in the card's order.
        bands: names of what comes out.
        uncertain: the uncertainty of each follows it out.
    """

    model: Model
    inputs: tuple[tuple[int, int, tuple[str, ...]], ...]
    bands: tuple[str, ...]
    uncertain: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that comes out, in the net's order."""
        return (*self.bands, *(f"{name}{UNCERTAINTY}" for name in self.bands if self.uncertain))

    @property
    def target(self) -> int:
        """GSD in the scene on which the bands were sensed."""
        return self.inputs[-1][1]

    @property
    def coarsest(self) -> int:
        """The largest GSD in the scene that it reads."""
        return max(gsd for _, gsd, _ in self.inputs)


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
        tiles: in those coarsest pixels; they may reach past `window` by less than a pixel.
        pad: coarsest pixels read around a tile.
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
        """(height, width) of a tile in output pixels, without its margin."""
        tile = next(iter(self.tiles)).window.at(self.zoom)
        return tile.height, tile.width

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
        return degrade.of_band(name, factor, self.scene.finest / self.finer)

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
    models = [_bound(model, scene) for model in at_gsd(scene, models, request.gsd)]
    any_raster = any(model.card.task not in ("guided", "spectral") for model in models)
    if any_raster:
        chosen = _any_raster(scene, models, request)
    else:
        chosen = _guided(scene, models, request, notes)
    finer = models[0].card.scale if any_raster else _finer(scene, chosen)
    continuous = models[0].card.continuous if any_raster else 0.0
    guide_alone = any_raster or scene.sensor != "sentinel2"  # which is no band of the output
    copied = () if guide_alone or request.only_sr else scene.select(gsd=scene.finest)
    native = [band.name for band in copied]
    names = _ordered(scene, chosen, native)
    if request.bands is not None:
        _require(scene, request.bands, names)
        names = tuple(name for name in names if name in request.bands)
    if not any_raster:
        _note_left_out(scene, chosen, request, notes)
    chosen = tuple(replace(net, uncertain=request.uncertainty) for net in chosen)
    _check_nets(chosen, request)
    if scene.video and request.frames.count:
        raise UsageError("--frames: --window says how many frames of a video. Drop one of them.")
    if request.uncertainty:
        names = (*names, *(f"{name}{UNCERTAINTY}" for name in names))
    if not names:
        raise SceneError(f"{scene.path}: nothing to write. Drop --only-sr or choose other bands.")
    inputs = {gsd for net in chosen for _, gsd, _ in net.inputs}
    scene.check_nested(sorted(inputs | {scene.finest}))
    unit = max(inputs | {scene.finest}) // scene.finest
    window = wanted(scene, request.bounds, request.bounds_crs, unit)
    margin = max([net.model.card.margin for net in chosen], default=0)
    blend = max([net.model.card.blend for net in chosen], default=0)
    pad = max(-(-margin // (unit * finer)), -(-(request.overlap or 0) // unit), blend)
    if request.agrees:
        pad += max(-(-REACH * (net.target // scene.finest) // unit) for net in chosen)
        pad = max(pad, -(-REFINED // (unit * finer)) if request.refine else 0)
    cropped = scene.grids[scene.finest].crop(window)
    grid = cropped.finer_by(continuous) if continuous else cropped.finer(finer)
    if grid.width * grid.height > request.max_pixels:
        raise SceneError(
            f"{scene.path}: the output would have {grid.height} × {grid.width} px, more than "
            f"{request.max_pixels:,} (a damaged header?). Give --bounds, or a larger --max-pixels."
        )
    tiles = _tiles(window.coarse(unit), unit, finer, chosen, pad, request, engine)
    high = max(span.stop - span.start for span in tiles.rows) * unit * finer
    _check_rows(scene, grid.width * high * len(names))
    frames = max((net.model.card.frames for net in chosen), default=1)
    selection = first_frames(min(frames, scene.frames))
    return Plan(scene, chosen, names, grid, window, unit, finer, tiles, pad, tuple(notes),
                selection, request.agrees, request.ensemble, continuous,
                refine=request.refine)  # fmt: skip


def _bound(model: Model, scene: Scene) -> Model:
    """A net for the bands of any pair gets those of the scene; others have theirs."""
    if not is_template(model.card):
        return model
    from geosr.inference.binding import bound  # with PyTorch

    return bound(model, scene)


def _check_rows(scene: Scene, values: int) -> None:
    """Whether a row of tiles fits into memory: it is read and written whole."""
    size = values * np.dtype(np.float32).itemsize
    if size > _LARGEST_ROW:
        raise SceneError(
            f"{scene.path}: it is {scene.grid.width:,} px wide, one row of tiles takes "
            f"{size / 2**30:.1f} GiB, more than {_LARGEST_ROW >> 30}. Give --bounds."
        )


def _check_nets(nets: Sequence[Bound], request: Request) -> None:
    """Whether the nets can do what is asked beyond the bands.

    Raises:
        UsageError: they cannot; says which can.
    """
    for card in (net.model.card for net in nets):
        several = card.task == "misr"
        option = "--refine" if request.refine else "--consistent" if request.consistent else ""
        if option and card.task == "spectral":
            raise UsageError(f"{option}: '{card.name}' tells new bands. Drop it.")
        check_zoom(card, option)
        if option and several:
            raise UsageError(f"{option}: '{card.name}' takes several images. Drop it.")
        on_first = card.frames == 2 or card.video
        if request.ensemble > 1 and (not several or on_first):
            raise UsageError(
                f"--ensemble averages over orders of frames; '{card.name}' "
                f"{'builds on its first frame' if several else 'takes one image'}. Drop it."
            )
    if request.uncertainty and not all(net.model.tells_uncertainty for net in nets):
        raise UsageError("--uncertainty: of the nets only piunet tells it. Drop it.")


def _tiles(
    window: Window, unit: int, finer: int, nets: Sequence[Bound], pad: int, request: Request,
    engine: Engine,
) -> TileGrid:  # fmt: skip
    """Tiles over `window`, which is in the coarsest pixels as `pad` is.

    Of nets that blend they are at least two ramps wide, or more than two would meet in a place.
    """
    cards = [net.model.card for net in nets]
    if request.tile_size or any(card.blend or card.task == "misr" for card in cards):
        own = min([card.tile * unit for card in cards if card.tile], default=_MOST_TILE)
        size = request.tile_size or min(_blended_tile(finer), own)
        return TileGrid(window, max([-(-size // unit), *(2 * card.blend for card in cards)]))
    coarsest = max((net.coarsest for net in nets), default=1)
    areas = [engine.area(net.model) * net.coarsest**2 // coarsest**2 for net in nets]
    rows = _STRIP // (window.width * (unit * finer) ** 2)
    shape = best_shape((window.height, window.width), pad, min(areas, default=_STRIP), rows)
    return TileGrid(window, *shape)


def _blended_tile(finer: int) -> int:
    return _BLENDED_TILE if finer == 1 else min(_FINE_TILE // finer, _MOST_TILE)


def _any_raster(scene: Scene, models: Sequence[Model], request: Request) -> tuple[Bound, ...]:
    """One net for any raster, bound to each band, or to all at once as its card says."""
    if len(models) > 1:
        said = ", ".join(model.card.name for model in models)
        raise UsageError(f"{said} make the same bands. Choose one --model.")
    model, names = models[0], scene.order({band.name for band in scene.bands})
    wanted = names if request.bands is None else tuple(n for n in names if n in request.bands)
    card = model.card
    if card.bands == (ANY,):
        return tuple(Bound(model, ((card.native_gsd, scene.finest, (n,)),), (n,)) for n in wanted)
    if set(card.bands) <= set(names):  # by name, where bands have the names that the net knows
        return (Bound(model, ((card.native_gsd, scene.finest, card.bands),), card.bands),)
    if len(names) != len(card.bands):
        raise SceneError(
            f"{scene.path} has {len(names)} bands, {card.name} takes {len(card.bands)} at once. "
            "Use weights trained band by band, or a raster with those bands."
        )
    return (Bound(model, ((card.native_gsd, scene.finest, names),), names),)


def _guided(
    scene: Scene, models: Sequence[Model], request: Request, notes: list[str]
) -> tuple[Bound, ...]:
    """The models whose bands are wanted and, of several models, not all absent."""
    if any(model.card.task == "spectral" for model in models):
        return _spectral(scene, models)
    present = {band.name for band in scene.bands}
    wanted = set(request.bands) if request.bands is not None else None
    asked = [m for m in models if wanted is None or wanted & set(m.card.bands) or _is_finer(m)]
    chosen = []
    for model in asked:
        if len(asked) > 1 and not present & set(model.card.bands):
            notes.append(f"no {' '.join(model.card.bands)}: {model.card.name} is not run")
            continue
        names = [name for item in model.card.inputs for name in item.bands]
        scene.select(names=names)  # says what is missing
        _require_factor(scene, model.card)
        inputs = tuple((item.gsd, item.gsd, item.bands) for item in model.card.inputs)
        chosen.append(Bound(model, inputs, model.card.bands))
    if asked and not chosen:
        scene.select(names=asked[0].card.bands)
    _require_counts(scene, chosen)
    if any(net.model.card.output.gsd != scene.finest for net in chosen if not _is_finer(net.model)):
        raise SceneError(
            f"{scene.path} has no 10 m bands, whose grid the output takes (found: "
            f"{' '.join(band.name for band in scene.bands)}). Add B2, B3, B4 and B8."
        )
    return _cascaded(chosen)


def _is_finer(model: Model) -> bool:
    """Whether a net makes the finest bands of Sentinel-2 finer."""
    return model.card.sensor == "sentinel2" and model.card.output.gsd < FINEST


def _finer(scene: Scene, nets: Sequence[Bound]) -> int:
    """Output pixels along a pixel of the scene's finest grid."""
    return max((scene.finest // net.model.card.output.gsd for net in nets if _is_finer(net.model)),
               default=1)  # fmt: skip


def _cascaded(nets: Sequence[Bound]) -> tuple[Bound, ...]:
    """The nets; where one makes the finest bands finer it takes those that the others sharpen."""
    finer, others = (
        [net for net in nets if _is_finer(net.model) == kind] for kind in (True, False)
    )
    if not finer or not others:
        return tuple(nets)
    from geosr.models.nets.guided.cascade import cascade  # with PyTorch

    model = cascade([net.model for net in others], finer[0].model)
    inputs = tuple((item.gsd, item.gsd, item.bands) for item in model.card.inputs)
    return (Bound(model, inputs, model.card.bands),)


def _require_factor(scene: Scene, card: ModelCard) -> None:
    """Whether a net for pairs was made for the factor between this one's grids."""
    if scene.sensor != "pair" or all(item.gsd in scene.grids for item in card.inputs):
        return
    raise SceneError(
        f"{scene.path}: its guide is {max(scene.grids)} times finer, '{card.name}' was trained for "
        f"{card.scale}. Take weights trained on such pairs, or --model regress, gsa, mtf-glp."
    )


def _ordered(scene: Scene, nets: Sequence[Bound], native: Sequence[str]) -> tuple[str, ...]:
    """Names of the output's bands in the scene's order; in a net's, where it tells new ones."""
    made = [name for net in nets for name in net.bands]
    if any(net.model.card.task == "spectral" for net in nets):
        own = {band.name for band in scene.select(gsd=scene.finest)}
        return tuple(dict.fromkeys(n for n in (*made, *native) if n in native or n not in own))
    return scene.order({*native, *made})


def _spectral(scene: Scene, models: Sequence[Model]) -> tuple[Bound, ...]:
    """The one net that tells new bands of a scene's finest ones."""
    if len(models) > 1:
        said = ", ".join(model.card.name for model in models)
        raise UsageError(f"{said}: a net that tells new bands runs alone. Choose one --model.")
    card = models[0].card
    scene.select(names=card.inputs[0].bands, gsd=scene.finest)  # says what is missing
    nets = (Bound(models[0], ((1, scene.finest, card.inputs[0].bands),), card.bands),)
    _require_counts(scene, nets)
    return nets


def _require_counts(scene: Scene, nets: Sequence[Bound]) -> None:
    eight = scene.dtype == np.uint8 and scene.sensor == "sentinel2"
    if eight and any(net.model.parameters for net in nets):
        raise SceneError(
            f"{scene.path}: 8-bit values are not Sentinel-2 counts (a picture?). "
            "Give the 16-bit product; only --model bicubic takes 8 bits."
        )


def _require(scene: Scene, bands: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in bands if name not in names]
    if missing:
        raise SceneError(
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
