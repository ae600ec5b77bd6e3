"""Finished strips of a scene: read, cut into tiles, predict, blend. Panel by panel, downwards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.inference.binding import Bound
from geosr.inference.blend import Blender
from geosr.inference.consistency import TV_TV, Change, change, project
from geosr.inference.engine import Engine
from geosr.inference.heap import give_back
from geosr.inference.plan import Plan
from geosr.inference.predict import predict
from geosr.inference.prefetch import prefetch
from geosr.inference.refine import tv_tv
from geosr.inference.tiles import Tile, TileGrid
from geosr.models.card import PLACES, SHIFTS
from geosr.raster.window import Window
from geosr.scene.frames import read_frame
from geosr.scene.pixels import Pixels, Reader

Cut = Mapping[int, NDArray[Any]]


@dataclass(frozen=True)
class Strip:
    """Finished rows: `window` in the finest input grid, pixels by band.

    Attributes:
        predicted: super-resolved bands, reflectance × 10000, (rows, cols) of the output grid each.
        read: what was read of the same ground by GSD; of several frames, where any was sensed.
        filled: input pixels that had to be filled.
        changed: by band, what making it consistent changed in the tiles that end here.
    """

    window: Window
    predicted: Mapping[str, NDArray[np.float32]]
    read: Mapping[int, Pixels]
    filled: int = 0
    changed: Mapping[str, Change] = field(default_factory=dict)


def strips(
    reader: Reader,
    plan: Plan,
    engine: Engine,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Generator[Strip, None, None]:
    """One strip a row of tiles, of one panel after the other; one read serves all nets of the plan.

    The next strip is read while the nets run.

    Args:
        progress: called with the number of tiles finished since the last call.

    Raises:
        SceneError: a band is missing or broken, or a net gives no numbers.
    """
    blending: _Blending | None = None
    with prefetch(_read_rows(reader, plan)) as rows:
        for row in rows:
            if blending is None or blending.panel is not row.panel:
                blending = _Blending(plan, row.panel)
            changed: dict[str, Change] = {}
            predictions = [
                _predictions(net, row, plan, engine, progress, changed) for net in plan.nets
            ]
            strip = blending.finish(row, predictions, changed)
            del row, predictions  # they are large, and the next one is waited for
            yield strip
            del strip
            give_back()


@dataclass(frozen=True)
class _Row:
    """A row of tiles, and what was read for it.

    Attributes:
        panel: all tiles of its panel.
        area: what was read, in the coarsest input's pixels.
        pixels: by GSD, as sensed; of several frames the first, valid where any was.
        values: by band, (frames, rows, cols), gaps filled, reflectance × 10000.
        clear: by band, the same shape: where it was not filled; of one frame `pixels` tell.
    """

    panel: TileGrid
    tiles: Sequence[Tile]
    area: Window
    pixels: Mapping[int, Pixels]
    values: Mapping[str, NDArray[np.float32]]
    clear: Mapping[str, NDArray[np.bool_]]

    def clear_at(self, name: str, at: tuple[slice, slice], plan: Plan) -> NDArray[np.bool_]:
        """Where a band was not filled, in some rows and columns: (frames, rows, cols)."""
        if name in self.clear:
            return self.clear[name][:, *at]
        gsd = plan.scene.gsd(name)
        index = plan.reads[gsd].index(name)
        return self.pixels[gsd].map(lambda array: array[index, *at]).usable[None]


class _Blending:
    """Puts predictions of tiles together, for every net of a plan, row by row of a panel."""

    def __init__(self, plan: Plan, panel: TileGrid) -> None:
        self.plan, self.panel = plan, panel
        self.ramp = max((net.model.card.blend for net in plan.nets), default=0)
        scale = plan.continuous or plan.zoom
        self.blenders = [Blender(panel, scale, self.ramp) for _ in plan.nets]
        self.top = panel.window.row

    def finish(
        self,
        row: _Row,
        predictions: Sequence[Iterator[NDArray[np.float32]]],
        changed: Mapping[str, Change],
    ) -> Strip:
        """The strip that a row of tiles finishes.

        Args:
            predictions: by net, one for each tile.
            changed: filled while the predictions are made.

        Raises:
            SceneError: a net gives no numbers.
        """
        plan, predicted = self.plan, dict[str, NDArray[np.float32]]()
        for net, blender, parts in zip(plan.nets, self.blenders, predictions, strict=True):
            finished = blender.add(_by_tile(row.tiles, parts))
            if not np.isfinite(finished).all():
                raise SceneError(
                    f"{plan.scene.path}: {net.model.card.name} gave NaN or Inf in fp32 near row "
                    f"{self.top}. Use other weights."
                )
            predicted |= dict(zip(net.outputs, finished, strict=True))
        done = self._finished(row)
        self.top += done.height
        return _strip(row, predicted, changed, done, plan)

    def _finished(self, row: _Row) -> Window:
        """What ends with a row, in the coarsest pixels: the next one has a part in its ramp."""
        whole, core = self.panel.window, row.tiles[0].core
        last = core.row + core.height
        ends = last == whole.row + whole.height
        return Window(
            self.top, whole.col, last - (0 if ends else self.ramp) - self.top, whole.width
        )


def _by_tile(
    tiles: Sequence[Tile], predictions: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
    """Each tile with its prediction, which is not held here while the next one is made, as `zip`
    would.
    """
    for tile in tiles:
        yield tile, next(predictions)
    assert next(predictions, None) is None


def _strip(
    row: _Row,
    predicted: Mapping[str, NDArray[np.float32]],
    changed: Mapping[str, Change],
    done: Window,
    plan: Plan,
) -> Strip:
    """The finished rows: what was read of them, and what was predicted."""
    read, filled = {}, 0
    for gsd, pixels in row.pixels.items():
        k = plan.per_unit(gsd)
        at = done.at(k).within(row.area.at(k))
        read[gsd] = pixels.crop(at)
        filled += sum(int((~row.clear_at(name, at, plan)).sum()) for name in plan.reads[gsd])
    return Strip(done.at(plan.unit), predicted, read, filled, changed)


def _read_rows(reader: Reader, plan: Plan) -> Iterator[_Row]:
    """Every row of tiles with the pixels of its bands by GSD, and what nets get of them."""
    for panel in plan.tiles.panels:
        for tiles in panel.strips():
            yield _read(reader, plan, panel, tiles)


def _read(reader: Reader, plan: Plan, panel: TileGrid, tiles: Sequence[Tile]) -> _Row:
    rows, across = tiles[0].window, panel.window
    area = Window(rows.row, across.col, rows.height, across.width).grow(plan.pad)
    wide = area.grow(plan.pad)  # a filled pixel depends on pixels up to `pad` further out
    pixels: dict[int, Pixels] = {}
    values: dict[str, NDArray[np.float32]] = {}
    clear: dict[str, NDArray[np.bool_]] = {}
    for gsd, names in plan.reads.items():
        k = plan.per_unit(gsd)
        at = area.at(k).within(wide.at(k))
        each = {
            frame: read_frame(
                reader, plan.scene, names, wide.at(k), frame, plan.selection, plan.pad * k
            )
            for frame in plan.selection
        }
        frames = [each[frame][0].crop(at) for frame in plan.selection]
        pixels[gsd] = _joint(frames).map(_compact)
        for i, name in enumerate(names):
            values[name] = np.stack([each[frame][1][i][at] for frame in plan.selection])
            if len(frames) > 1:
                clear[name] = np.stack([frame.usable[i] for frame in frames])
    return _Row(panel, tiles, area, pixels, values, clear)


def _joint(frames: Sequence[Pixels]) -> Pixels:
    """The first frame's pixels, valid where any frame's are."""
    first = frames[0]
    if len(frames) == 1:
        return first
    any_sensed = np.logical_or.reduce([frame.sensed for frame in frames])
    return Pixels(first.values, any_sensed, any_sensed, np.zeros_like(any_sensed))


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """A copy, else all that the array is a part of stays; of flags that are all alike one."""
    if array.dtype == bool and (array.all() or not array.any()):
        return np.broadcast_to(array.flat[:1].any(), array.shape)
    return array.copy()


def _any_sensed(net: Bound, tile: Tile, row: _Row, plan: Plan) -> bool:
    """Whether the tile's own part holds anything of the bands that the net predicts."""
    ramp = max(net.model.card.blend for net in plan.nets)
    own = {plan.band(band) for band in net.bands}
    for gsd, names in plan.reads.items():
        index, k = [names.index(name) for name in names if name in own], plan.per_unit(gsd)
        inside = tile.core.grow(ramp).intersect(row.area).at(k).within(row.area.at(k))
        if row.pixels[gsd].crop(inside).sensed[index].any():
            return True
    return False


def _cut(net: Bound, tile: Tile, row: _Row, plan: Plan) -> Cut:
    """The net's inputs under one tile, pad included."""
    window, card = tile.window.grow(net.pad), net.model.card
    cut: dict[int, NDArray[Any]] = {}
    for key, gsd, names in net.inputs:
        k = plan.per_unit(gsd)
        at = window.at(k).within(row.area.at(k))
        stack = np.stack([row.values[name][:, *at] for name in names], 1)
        if card.task == "misr":
            clear = np.logical_and.reduce([row.clear_at(name, at, plan) for name in names])
            stack = np.concatenate([stack, clear[:, None]], 1, dtype=np.float32)
            again = np.arange(len(stack) if card.fewer else card.frames) % len(stack)
            cut[key], cut[SHIFTS] = stack[again], plan.selection.shifts[again]
        else:
            cut[key] = stack[0]
    if plan.continuous:
        cut[PLACES] = _places(tile, plan, card.blend)
    return cut


@dataclass(frozen=True)
class _Cuts(Sequence[Cut]):
    """A net's inputs under some tiles of a row, each cut when it is asked for."""

    net: Bound
    tiles: Sequence[Tile]
    row: _Row
    plan: Plan

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [_cut(self.net, tile, self.row, self.plan) for tile in self.tiles[at]]
        return _cut(self.net, self.tiles[at], self.row, self.plan)


def _places(tile: Tile, plan: Plan, ramp: int) -> NDArray[np.float64]:
    """Which output pixels a net of any scale is asked for, (2, 3), as told to the net.

    Those of the tile and the ramp around it; of all tiles the same number.
    """
    spans, found = (plan.tiles.rows[tile.row], plan.tiles.cols[tile.col]), []
    for span, lattice, count in zip(spans, plan.lattices, _asked(plan, ramp), strict=True):
        first = lattice.centre(lattice.edge(span.start - ramp)) - (span.start - plan.pad)
        found.append((first, 1 / lattice.scale, count))
    return np.array(found)


def _asked(plan: Plan, ramp: int) -> tuple[int, int]:
    """Output pixels, down and across, that every tile is asked for: what the largest one needs."""
    down, across = (
        max(lattice.edge(span.stop + ramp) - lattice.edge(span.start - ramp) for span in spans)
        for lattice, spans in zip(plan.lattices, (plan.tiles.rows, plan.tiles.cols), strict=True)
    )
    return down, across


def _predictions(
    net: Bound,
    row: _Row,
    plan: Plan,
    engine: Engine,
    progress: Callable[[int], None],
    changed: dict[str, Change],
) -> Iterator[NDArray[np.float32]]:
    """Predictions of one row of tiles, cut to tile and ramp; empty tiles are not run."""
    wanted = [_any_sensed(net, tile, row, plan) for tile in row.tiles]
    run = _Cuts(
        net, [tile for tile, want in zip(row.tiles, wanted, strict=True) if want], row, plan
    )
    orders = _orders(plan, run)
    predictions = predict(net.model, run, engine, uncertain=net.uncertain, orders=orders)
    if plan.agrees:
        predictions = _consistent(net, run, predictions, plan, engine, changed)
    ramp = net.model.card.blend
    spare = (net.pad - ramp) * plan.zoom
    height, width = ((n + 2 * ramp) * plan.zoom for n in row.panel.shape)
    if plan.continuous:
        spare, (height, width) = 0, _asked(plan, ramp)
    for want in wanted:
        progress(1)
        if want:
            yield next(predictions)[:, spare : spare + height, spare : spare + width]
        else:
            yield np.zeros((len(net.outputs), height, width), np.float32)


def _orders(plan: Plan, cuts: Sequence[Cut]) -> Sequence[NDArray[np.int64]]:
    """Orders of the frames to average over, the given one first; none for one image."""
    if plan.ensemble == 1 or not cuts:
        return ()
    count, rng = len(cuts[0][SHIFTS]), np.random.default_rng(0)
    return [np.arange(count), *(rng.permutation(count) for _ in range(plan.ensemble - 1))]


def _consistent(
    net: Bound,
    cuts: Sequence[Cut],
    predictions: Iterator[NDArray[np.float32]],
    plan: Plan,
    engine: Engine,
    changed: dict[str, Change],
) -> Iterator[NDArray[np.float32]]:
    """Predictions, pad included, that degrade to what the net was given of the same bands."""
    spare = net.pad * plan.zoom
    core = (slice(spare, -spare or None), slice(spare, -spare or None))
    own = []
    for key, _, names in net.inputs:
        if bands := [name for name in names if name in net.bands]:
            made, given = ([every.index(name) for name in bands] for every in (net.bands, names))
            own.append((key, made, given, [tuple(plan.taps(name)) for name in bands]))
    for cut, estimate in zip(cuts, predictions, strict=True):
        result = estimate.copy()
        for key, made, given, taps in own:
            low = cut[key][given]
            if plan.refine == TV_TV:
                result[made] = tv_tv(estimate[made], low, taps, engine.device)
            else:
                result[made] = project(estimate[made], low, taps)
        for name, before, after in zip(net.bands, estimate, result, strict=True):
            changed.setdefault(name, Change()).add(change(before[core], after[core]))
        yield result
