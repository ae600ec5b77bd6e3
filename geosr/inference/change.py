"""What changed between two rasters of one place, which may lie on different grids.

The coarser one is brought to the grid of the finer, by a net where one is given, registered with it
and brought to its brightness, band by band. What is left differs by noise where nothing changed:

    magnitude = √ Σ ((A - B) / σ)²  over the bands

σ is the spread of that difference in the scene, by its median. A Siamese net (`srcdnet`) tells the
magnitude of what it has learned to call a change instead.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr import __version__
from geosr.errors import SceneError, UsageError
from geosr.inference.blend import Blender
from geosr.inference.engine import Engine
from geosr.inference.magnitude import Scale, Score, line, otsu
from geosr.inference.predict import predict
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.inference.tiles import TileGrid
from geosr.models.card import Model
from geosr.models.nets.change.srcdnet import THRESHOLD
from geosr.raster.files import Warp
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.raster.writer import Layout, create
from geosr.scene.correlation import displacement
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.registration import rounded
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene

log = logging.getLogger("geosr")

NONE = 255  # in the map, where either was not sensed
_ROWS = 256  # at a time
_SIDE = 512  # pixels along a window that is looked at before
_TILE = 256  # of a net
_FILL_REACH = 8
_ALIKE, _LARGEST = 0.3, 4.0  # correlation at least, and pixels at most, of a registration
_LESS = 0.95  # of what is left over, that a move must leave at most

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Changes:
    """What was written.

    Attributes:
        threshold: of the magnitude, above which a pixel changed.
        share: of the pixels that both rasters show, those that changed.
        shift: pixels (down, right) by which the second raster was moved to fit; None where that
            was not told.
        score: beside a known map, where one was given.
    """

    magnitude: Path
    map: Path
    threshold: float
    share: float
    shift: tuple[float, float] | None
    score: Score | None = None


def map_of(path: Path) -> Path:
    """The map's file, beside the magnitude's."""
    return path.with_name(f"{path.stem}_map{path.suffix}")


def check_place(path: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Whether the magnitude and its map can be written there.

    Raises:
        UsageError: they are there, would replace an input, or are no GeoTIFFs.
    """
    made = (path, map_of(path))
    there = [each for each in made if each.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} is there already. Pass --overwrite to replace it.")
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{path}: the magnitude is a GeoTIFF. Give a name that ends in .tif.")
    if {each.resolve() for each in made} & {each.resolve() for each in inputs}:
        raise UsageError(f"{path} would replace an input. Choose another name.")


def change(
    first: Scene,
    second: Scene,
    path: Path,
    *,
    finer: Model | None = None,
    net: Model | None = None,
    threshold: float | None = None,
    register: bool = True,
    truth: Scene | None = None,
    engine: Engine = Engine(),  # noqa: B008 - frozen
) -> Changes:
    """Write how much two rasters differ to `path`, and what changed to `map_of(path)`.

    Args:
        finer: a net for one image, by which the coarser raster is made finer; None interpolates.
        net: one that tells changes; None compares pixels.
        threshold: None is 0.5 of a net, else Otsu's of the magnitude.
        register: move the second raster to where it fits the first.
        truth: a raster that is above 0 where something changed, to compare the map with.

    Raises:
        SceneError: the two have no ground or no bands in common, or cannot be read.
        StoppedError: the output cannot be written.
    """
    with ExitStack() as held:
        dates, target = _on_one_grid(first, second, finer, engine, held)
        names = _paired_names(*dates)
        pair = _Pair(dates, names, target, None if net is None else len(net.card.inputs[0].bands))
        shift = None
        if register:
            pair, shift = _registered(pair)
        readers = (held.enter_context(dates.open()) for dates in pair.scenes)
        looked = _Looked(pair, (next(readers), next(readers)))
        scale = looked.scale()
        if net is None:
            limit = looked.threshold(scale) if threshold is None else threshold
            strips = looked.strips(scale)
        else:
            limit = THRESHOLD if threshold is None else threshold
            strips = looked.told_by(net, engine)
        known = None if truth is None else held.enter_context(_onto(truth, target).open())
        return _written(path, target, strips, limit, shift, known, truth)


def _written(
    path: Path, target: Grid, strips: Iterator[tuple[int, Array, NDArray[np.bool_]]], limit: float,
    shift: tuple[float, float] | None, known: Reader | None, truth: Scene | None,
) -> Changes:  # fmt: skip
    """Both rasters, row by row."""
    tags = {"GEOSR_VERSION": __version__, "GEOSR_CHANGE_THRESHOLD": f"{limit:.6g}"}
    kinds = (Layout(target, ("magnitude",), np.dtype(np.float32), math.nan, tags=tags),
             Layout(target, ("change",), np.dtype(np.uint8), NONE, tags=tags))  # fmt: skip
    changed = seen = 0
    score = None if known is None else Score()
    with create(path, kinds[0]) as magnitude, create(map_of(path), kinds[1]) as map_:
        for top, rows, usable in strips:
            above = (rows > limit) & usable
            magnitude.write(np.where(usable, rows, np.nan).astype(np.float32)[None])
            map_.write(np.where(usable, above, NONE).astype(np.uint8)[None])
            changed, seen = changed + int(above.sum()), seen + int(usable.sum())
            if known is not None and truth is not None:
                score = (score or Score()) + _compared(above, usable, known, truth, top)
    if not seen:
        log.warning("%s: no pixel was sensed by both", path)
    return Changes(path, map_of(path), limit, changed / max(seen, 1), shift, score)


def _compared(
    above: NDArray[np.bool_], usable: NDArray[np.bool_], known: Reader, truth: Scene, top: int
) -> Score:
    pixels = known.read([truth.bands[0].name], truth.finest, Window(top, 0, *above.shape))
    real, counts = pixels.values[0] > 0, usable & pixels.mask[0]
    return Score(*(int((x & counts).sum()) for x in (above & real, above & ~real, ~above & real)))


# both on one grid


@dataclass(frozen=True)
class _Pair:
    """Both scenes on one grid, and the bands that are compared, of each."""

    scenes: tuple[Scene, Scene]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    grid: Grid
    wanted: int | None

    def __post_init__(self) -> None:
        if self.wanted is not None and self.wanted != 2 * len(self.names[0]):
            raise SceneError(
                f"{self.scenes[0].path} and {self.scenes[1].path} share {len(self.names[0])} "
                f"bands, the net was trained on {self.wanted // 2}. Give rasters of those."
            )


def _on_one_grid(
    first: Scene, second: Scene, finer: Model | None, engine: Engine, held: ExitStack
) -> tuple[tuple[Scene, Scene], Grid]:
    """Both scenes on the finer one's grid.

    Raises:
        SceneError: another CRS, or no common ground.
    """
    ours, theirs = first.grid, second.grid
    if ours.crs != theirs.crs:
        raise SceneError(
            f"{first.path} ({ours}) and {second.path} ({theirs}) differ in CRS. Warp one of them "
            "into the other's (gdalwarp -t_srs)."
        )
    target = min((ours, theirs), key=lambda grid: grid.gsd)
    reached = [grid.covering(other.bounds).intersect(grid.window)
               for grid, other in ((ours, theirs), (theirs, ours))]  # fmt: skip
    if not all(window.height and window.width for window in reached):
        raise SceneError(
            f"{first.path} (bounds {_said(ours)}) and {second.path} (bounds {_said(theirs)}) show "
            "no common ground. Give two rasters of one place."
        )
    scenes = [
        _onto(_finer(scene, target, finer, engine, held), target) for scene in (first, second)
    ]
    return (scenes[0], scenes[1]), target


def _said(grid: Grid) -> str:
    return " ".join(f"{edge:.10g}" for edge in grid.bounds)


def _finer(
    scene: Scene, target: Grid, net: Model | None, engine: Engine, held: ExitStack
) -> Scene:  # fmt: skip
    """A scene coarser than the target by a net's scale, as the net makes it."""
    ratio = scene.grid.gsd / target.gsd
    if net is None or ratio < 1.5:
        return scene
    if round(ratio) != net.card.scale:
        raise SceneError(
            f"{scene.path} is {ratio:.2f} times coarser than the other, '{net.card.name}' makes "
            f"rasters {net.card.scale} times finer. Choose a net of that scale, or bicubic."
        )
    folder = held.enter_context(tempfile.TemporaryDirectory())
    path = Path(folder) / "finer.tif"
    superres(scene, path, [net], request=Request(), engine=engine)
    made = open_scene(path, OpenOptions(kind="image", quantification=scene.quantification))
    return replace(made, path=scene.path, name=scene.name)  # as messages call it


def _onto(scene: Scene, target: Grid) -> Scene:
    """A scene read on another grid; cubic where it is coarser, by means where finer."""
    if scene.grid == target:
        return scene
    warp = Warp(scene.grid, target, "cubic" if scene.grid.gsd >= target.gsd * 0.99 else "average")
    bands = tuple(replace(band, warp=warp) for band in scene.bands)
    return replace(scene, bands=bands, grids={scene.finest: target}, window=target.window)


def _paired_names(first: Scene, second: Scene) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The bands that are compared: those of one name, else all in their order.

    Raises:
        SceneError: neither the names nor the numbers agree.
    """
    ours, theirs = ([band.name for band in scene.bands] for scene in (first, second))
    common = tuple(name for name in ours if name in theirs)
    if common:
        return common, common
    if len(ours) != len(theirs):
        raise SceneError(
            f"{first.path} has the bands {' '.join(ours)}, {second.path} {' '.join(theirs)}: none "
            "in common, nor as many. Give rasters of the same bands."
        )
    return tuple(ours), tuple(theirs)


def _registered(pair: _Pair) -> tuple[_Pair, tuple[float, float] | None]:
    """The pair with its second scene moved to where it shows what the first does, if that is told.

    Phase correlation of the middle, all bands together. What changed draws it, so a move counts
    only where less is left over after it.
    """
    a, b, usable = _middle(pair)
    down, right, alike = displacement(_grey(a, usable), _grey(b, usable))
    if not alike >= _ALIKE or max(abs(down), abs(right)) > _LARGEST:
        log.warning("%s: not registered with %s (correlation %.2f at %.2f, %.2f px)",
                    pair.scenes[1].path, pair.scenes[0].path, alike, down, right)  # fmt: skip
        return pair, None
    down, right = rounded(down), rounded(right)
    if not down and not right:
        return pair, (0.0, 0.0)
    moved = replace(pair, scenes=(pair.scenes[0], _moved(pair.scenes[1], pair.grid, down, right)))
    if _left_over(*_middle(moved)) > _LESS * _left_over(a, b, usable):
        return pair, (0.0, 0.0)
    log.info("%s is moved %.2f px down and %.2f px right to fit %s", pair.scenes[1].path, down,
             right, pair.scenes[0].path)  # fmt: skip
    return moved, (down, right)


def _middle(pair: _Pair) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Both dates in the middle of the grid, and where both were sensed."""
    with pair.scenes[0].open() as first, pair.scenes[1].open() as second:
        looked = _Looked(pair, (first, second))
        return looked.read(looked.middle())


def _grey(image: Array, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of all bands, each by its deviation; gaps hold the bands' means."""
    means = image[:, usable].mean(1) if usable.any() else np.zeros(len(image))
    whole = np.where(usable, image, means[:, None, None])
    spreads = whole.std((1, 2), keepdims=True)
    return np.asarray((whole / np.where(spreads, spreads, 1)).mean(0), np.float64)


def _left_over(a: Array, b: Array, usable: NDArray[np.bool_]) -> float:
    """What lines of the second date leave of the first where nothing changed, over all bands."""
    if not usable.any():
        return math.inf
    both = zip(a[:, usable].astype(np.float64), b[:, usable].astype(np.float64), strict=True)
    return sum(line(x, y)[2] for y, x in both)


def _moved(scene: Scene, grid: Grid, down: float, right: float) -> Scene:
    """A scene whose content lies elsewhere, by pixels of a grid, read on that grid."""
    band = scene.bands[0]
    source = band.warp.source if band.warp else scene.grid
    by = Affine.translation(right * grid.transform.a, down * grid.transform.e)
    warp = Warp(replace(source, transform=by @ source.transform), grid, "cubic")
    bands = tuple(replace(each, warp=warp) for each in scene.bands)
    return replace(scene, bands=bands)


# magnitudes


@dataclass(frozen=True)
class _Looked:
    """A pair with its pixels."""

    pair: _Pair
    readers: tuple[Reader, Reader]

    def read(self, window: Window) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Both dates, reflectance × 10000, gaps filled, and where both were sensed."""
        values, usable = [], np.ones(window[2:], bool)
        for scene, reader, names in zip(
            self.pair.scenes, self.readers, self.pair.names, strict=True
        ):
            pixels = reader.read(names, scene.finest, window)
            counts = fill(pixels.values, pixels.usable, _FILL_REACH)
            values.append(reflectance(scene, names, counts))
            usable &= pixels.usable.all(0)
        return values[0], values[1], usable

    def middle(self) -> Window:
        """The middle of the grid, or all of a small one."""
        height, width = (min(n, _SIDE) for n in self.pair.grid.shape)
        rows, cols = self.pair.grid.shape
        return Window((rows - height) // 2, (cols - width) // 2, height, width)

    def _samples(self) -> Iterator[tuple[Array, Array]]:
        """Sensed values (bands, pixels) of both, from nine windows at most."""
        height, width = self.pair.grid.shape
        tall, wide = min(height, _SIDE), min(width, _SIDE)
        for row in sorted({0, (height - tall) // 2, height - tall}):
            for col in sorted({0, (width - wide) // 2, width - wide}):
                a, b, usable = self.read(Window(row, col, tall, wide))
                yield a[:, usable], b[:, usable]

    def scale(self) -> Scale:
        """How the second date is brought to the first.

        Raises:
            SceneError: hardly anything was sensed by both.
        """
        parts = list(self._samples())
        a, b = (np.concatenate([part[i] for part in parts], 1) for i in (0, 1))
        if a.shape[1] < _SIDE:
            raise SceneError(
                f"{self.pair.scenes[0].path} and {self.pair.scenes[1].path}: {a.shape[1]} pixels "
                f"were sensed by both where geosr looked, {_SIDE} are needed. Give clearer rasters."
            )
        lines = [line(x, y) for x, y in zip(b.astype(np.float64), a.astype(np.float64),
                                             strict=True)]  # fmt: skip
        return Scale(*(np.array(each, np.float32) for each in zip(*lines, strict=True)))

    def threshold(self, scale: Scale) -> float:
        """The threshold that parts the magnitudes into two classes best (Otsu 1979)."""
        found = [scale.magnitude(a[..., None], b[..., None]).ravel() for a, b in self._samples()]
        return otsu(np.concatenate(found))

    def strips(self, scale: Scale) -> Iterator[tuple[int, Array, NDArray[np.bool_]]]:
        """First row, magnitude and where both were sensed, some rows at a time."""
        height, width = self.pair.grid.shape
        for top in range(0, height, _ROWS):
            a, b, usable = self.read(Window(top, 0, min(_ROWS, height - top), width))
            yield top, scale.magnitude(a, b), usable

    def told_by(
        self, net: Model, engine: Engine
    ) -> Iterator[tuple[int, Array, NDArray[np.bool_]]]:  # fmt: skip
        """The same as a net tells it, in its own unit; tiles are blended."""
        whole, ramp, pad = self.pair.grid.window, net.card.blend, net.card.margin
        tiles = TileGrid(whole, _TILE)
        blender, top = Blender(tiles, 1, ramp), 0
        for row in tiles.strips():
            cuts = []
            for tile in row:
                a, b, _ = self.read(tile.window.grow(pad))
                cuts.append({1: np.concatenate([a, b])})
            inner = slice(pad - ramp, ramp - pad)
            parts = [made[:, inner, inner] / net.card.unit for made in predict(net, cuts, engine)]
            done = blender.add(zip(row, parts, strict=True))[0]
            usable = self.read(Window(top, 0, *done.shape))[2]
            yield top, done, usable
            top += len(done)
