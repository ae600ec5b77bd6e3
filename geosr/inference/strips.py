"""Finished strips of a scene, top to bottom: read, cut into tiles, predict, blend."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.inference.blend import Blender
from geosr.inference.consistency import Change, change, project
from geosr.inference.engine import Engine
from geosr.inference.plan import Bound, Plan
from geosr.inference.predict import predict
from geosr.inference.prefetch import prefetch
from geosr.inference.tiles import Tile
from geosr.models.card import SHIFTS
from geosr.raster.window import Window
from geosr.scene.frames import read_frame
from geosr.scene.pixels import Pixels, Reader

Cut = Mapping[int, NDArray[np.float32]]


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
    """One strip a row of tiles; one read and one pass serve all nets of the plan.

    The next strip is read while the nets run.

    Args:
        progress: called with the number of tiles finished since the last call.

    Raises:
        SceneError: a band is missing or broken, or a net gives no numbers.
    """
    with prefetch(_read_rows(reader, plan)) as rows:
        yield from _finished(rows, plan, engine, progress)


def _read_rows(reader: Reader, plan: Plan) -> Iterator[tuple[list[Tile], Window, _Inputs]]:
    """Every row of tiles with what was read for it, and where that lies."""
    across = plan.tiles.window
    for tiles in plan.tiles.strips():
        rows = tiles[0].window
        area = Window(rows.row, across.col, rows.height, across.width).grow(plan.pad)
        yield tiles, area, _read(reader, plan, area)


def _finished(
    rows: Iterator[tuple[list[Tile], Window, _Inputs]],
    plan: Plan,
    engine: Engine,
    progress: Callable[[int], None],
) -> Iterator[Strip]:
    blend = max((net.model.card.blend for net in plan.nets), default=0)
    blenders = [Blender(plan.tiles, plan.zoom, blend) for _ in plan.nets]
    across, top = plan.tiles.window, plan.tiles.window.row
    for tiles, area, inputs in rows:
        last = tiles[0].core.row + tiles[0].core.height
        ends = last == across.row + across.height
        done = Window(top, across.col, last - (0 if ends else blend) - top, across.width)
        predicted: dict[str, NDArray[np.float32]] = {}
        changed: dict[str, Change] = {}
        for net, blender in zip(plan.nets, blenders, strict=True):
            wanted = [_any_sensed(inputs, tile.core.grow(blend), area, plan, net) for tile in tiles]
            cuts = [_cut(net, tile, area, inputs, plan) for tile in tiles]
            predictions = _predicted(net, cuts, wanted, plan, engine, progress, changed)
            finished = blender.add(zip(tiles, predictions, strict=True))
            if not np.isfinite(finished).all():
                raise SceneError(
                    f"{plan.scene.path}: {net.model.card.name} gave NaN or Inf in fp32 near row "
                    f"{top}. Use other weights."
                )
            predicted |= dict(zip(net.outputs, finished, strict=True))
        yield replace(_strip(inputs, predicted, done, area, plan), changed=changed)
        top += done.height


@dataclass(frozen=True)
class _Inputs:
    """What was read of an area.

    Attributes:
        pixels: by GSD, as sensed; of several frames the first, valid where any was.
        values: by band, (frames, rows, cols), gaps filled, reflectance × 10000.
        clear: by band, the same shape: where it was not filled.
    """

    pixels: Mapping[int, Pixels]
    values: Mapping[str, NDArray[np.float32]]
    clear: Mapping[str, NDArray[np.bool_]]


def _strip(
    inputs: _Inputs,
    predicted: Mapping[str, NDArray[np.float32]],
    done: Window,
    area: Window,
    plan: Plan,
) -> Strip:
    """The finished rows: what was read of them, and what was predicted."""
    read, filled = {}, 0
    for gsd, pixels in inputs.pixels.items():
        k = plan.per_unit(gsd)
        at = done.at(k).within(area.at(k))
        read[gsd] = pixels.crop(at)
        filled += sum(int((~inputs.clear[name][:, *at]).sum()) for name in plan.reads[gsd])
    return Strip(done.at(plan.unit), predicted, read, filled)


def _read(reader: Reader, plan: Plan, area: Window) -> _Inputs:
    """Pixels of `area`, and what nets get of them."""
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
        pixels[gsd] = _joint(frames)
        for i, name in enumerate(names):
            values[name] = np.stack([each[frame][1][i][at] for frame in plan.selection])
            clear[name] = np.stack([frame.usable[i] for frame in frames])
    return _Inputs(pixels, values, clear)


def _joint(frames: Sequence[Pixels]) -> Pixels:
    """The first frame's pixels, valid where any frame's are."""
    first = frames[0]
    if len(frames) == 1:
        return first
    any_sensed = np.logical_or.reduce([frame.sensed for frame in frames])
    return Pixels(first.values, any_sensed, any_sensed, np.zeros_like(any_sensed))


def _any_sensed(inputs: _Inputs, part: Window, area: Window, plan: Plan, net: Bound) -> bool:
    """Whether the tile's own part holds anything of the bands that the net predicts."""
    k = plan.per_unit(net.target)
    names = plan.reads[net.target]
    index = [names.index(name) for name in net.bands]
    inside = part.intersect(area).at(k).within(area.at(k))
    return bool(inputs.pixels[net.target].crop(inside).sensed[index].any())


def _cut(net: Bound, tile: Tile, area: Window, inputs: _Inputs, plan: Plan) -> Cut:
    """The net's inputs under one tile, pad included."""
    window, card = tile.window.grow(plan.pad), net.model.card
    cut = {}
    for key, gsd, names in net.inputs:
        k = plan.per_unit(gsd)
        at = window.at(k).within(area.at(k))
        stack = np.stack([inputs.values[name][:, *at] for name in names], 1)
        if card.task == "misr":
            clear = np.logical_and.reduce([inputs.clear[name][:, *at] for name in names])
            stack = np.concatenate([stack, clear[:, None]], 1, dtype=np.float32)
            again = np.arange(len(stack) if card.fewer else card.frames) % len(stack)
            cut[key], cut[SHIFTS] = stack[again], plan.selection.shifts[again]
        else:
            cut[key] = stack[0]
    return cut


def _predicted(
    net: Bound,
    cuts: Sequence[Cut],
    wanted: Sequence[bool],
    plan: Plan,
    engine: Engine,
    progress: Callable[[int], None],
    changed: dict[str, Change],
) -> Iterator[NDArray[np.float32]]:
    """Predictions of one row of tiles, cut to tile and ramp; empty tiles are not run."""
    run = [cut for cut, want in zip(cuts, wanted, strict=True) if want]
    orders = _orders(plan, run)
    predictions = predict(net.model, run, engine, uncertain=net.uncertain, orders=orders)
    if plan.consistent:
        predictions = _consistent(net, run, predictions, plan, changed)
    ramp = net.model.card.blend
    spare = (plan.pad - ramp) * plan.zoom
    height, width = (n + 2 * ramp * plan.zoom for n in plan.tile_shape)
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
    changed: dict[str, Change],
) -> Iterator[NDArray[np.float32]]:
    """Predictions, pad included, that degrade to what the net was given of the same bands."""
    key, _, names = net.inputs[-1]
    index, spare = [names.index(name) for name in net.bands], plan.pad * plan.zoom
    core = (slice(spare, -spare or None), slice(spare, -spare or None))
    gsd = plan.scene.finest / plan.finer
    for cut, estimate in zip(cuts, predictions, strict=True):
        result = project(estimate, cut[key][index], net.bands, gsd)
        for name, before, after in zip(net.bands, estimate, result, strict=True):
            changed.setdefault(name, Change()).add(change(before[core], after[core]))
        yield result
