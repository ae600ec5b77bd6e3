"""Finished strips of a scene, top to bottom: read, cut into tiles, predict, blend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.blend import Blender
from geosr.errors import SceneError
from geosr.fill import fill
from geosr.models import Model
from geosr.plan import Plan
from geosr.predict import Engine, predict
from geosr.radiometry import reflectance
from geosr.scene import Pixels, Reader
from geosr.tiles import Tile, Window

Cut = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True)
class Strip:
    """Finished rows: `window` in the finest grid, pixels by band.

    Attributes:
        made: super-resolved bands, reflectance × 10000, (rows, cols) each.
        read: what was read of the same ground by GSD.
        filled: input pixels that had to be filled.
    """

    window: Window
    made: Mapping[str, NDArray[np.float32]]
    read: Mapping[int, Pixels]
    filled: int = 0


def strips(
    reader: Reader,
    plan: Plan,
    engine: Engine,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Strip]:
    """One strip a row of tiles; one read and one pass serve all nets of the plan.

    Args:
        progress: called with the number of tiles finished since the last call.

    Raises:
        SceneError: a band is missing or broken, or a net gives no numbers.
    """
    blenders = [Blender(plan.tiles, plan.unit) for _ in plan.models]
    across = plan.tiles.window
    for tiles in plan.tiles.strips():
        core = Window(tiles[0].core.row, across.col, tiles[0].core.height, across.width)
        rows = tiles[0].window
        area = Window(rows.row, across.col, rows.height, across.width).grow(plan.pad)
        read, inputs, filled = _read(reader, plan, area, core)
        made: dict[str, NDArray[np.float32]] = {}
        for model, blender in zip(plan.models, blenders, strict=True):
            sensed = read[model.card.native_gsd]
            wanted = [_any_sensed(sensed, tile, core, plan, model) for tile in tiles]
            cuts = [_cut(model, tile, area, inputs, plan) for tile in tiles]
            predictions = _predicted(model, cuts, wanted, plan, engine, progress)
            finished = blender.add(zip(tiles, predictions, strict=True))
            if not np.isfinite(finished).all():
                raise SceneError(
                    f"{plan.scene.path}: {model.card.name} gave NaN or Inf near row {core.row} in "
                    f"{engine.precision}. Say --precision fp32, or use other weights."
                )
            made |= dict(zip(model.card.bands, finished, strict=True))
        yield Strip(core.at(plan.unit), made, read, filled)


def _read(
    reader: Reader, plan: Plan, area: Window, core: Window
) -> tuple[dict[int, Pixels], dict[str, NDArray[np.float32]], int]:
    """Pixels of `core` by GSD; net inputs of `area` by band; how many pixels had to be filled."""
    wide = area.grow(plan.pad)  # a filled pixel depends on pixels up to `pad` further out
    pixels: dict[int, Pixels] = {}
    inputs: dict[str, NDArray[np.float32]] = {}
    filled = 0
    for gsd, names in plan.reads.items():
        k = plan.per_unit(gsd)
        read = reader.read(names, gsd, wide.at(k))
        pixels[gsd] = read.crop(core.at(k).within(wide.at(k)))
        filled += int((~pixels[gsd].usable).sum())
        values = reflectance(plan.scene, names, fill(read.values, read.usable, plan.pad * k))
        values = values[:, *area.at(k).within(wide.at(k))]
        inputs |= dict(zip(names, values, strict=True))
    return pixels, inputs, filled


def _any_sensed(pixels: Pixels, tile: Tile, core: Window, plan: Plan, model: Model) -> bool:
    """Whether the tile's own part holds anything of the bands that the net makes."""
    k = plan.per_unit(model.card.native_gsd)
    names = plan.reads[model.card.native_gsd]
    index = [names.index(name) for name in model.card.bands]
    return bool(pixels.crop(tile.core.at(k).within(core.at(k))).sensed[index].any())


def _cut(
    model: Model, tile: Tile, area: Window, inputs: Mapping[str, NDArray[np.float32]], plan: Plan
) -> Cut:
    """The net's inputs under one tile, pad included."""
    window = tile.window.grow(plan.pad)
    cut = {}
    for item in model.card.inputs:
        k = plan.per_unit(item.gsd)
        at = window.at(k).within(area.at(k))
        cut[item.gsd] = np.stack([inputs[name][at] for name in item.bands])
    return cut


def _predicted(
    model: Model,
    cuts: Sequence[Cut],
    wanted: Sequence[bool],
    plan: Plan,
    engine: Engine,
    progress: Callable[[int], None],
) -> Iterator[NDArray[np.float32]]:
    """Predictions of one row of tiles, the pad cut away; tiles without a pixel are not run."""
    made = predict(model, [cut for cut, want in zip(cuts, wanted, strict=True) if want], engine)
    pad, tile = plan.pad * plan.unit, plan.tile_shape
    for want in wanted:
        progress(1)
        if want:
            yield next(made)[:, pad : pad + tile[0], pad : pad + tile[1]]
        else:
            yield np.zeros((len(model.card.bands), *tile), np.float32)
