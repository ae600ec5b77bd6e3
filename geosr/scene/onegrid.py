"""A scene with all bands on one of its grids: finer ones become means, so all are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.pixels import Pixels, Reader
from geosr.scene.scene import Scene


def on_one_grid(scene: Scene, gsd: int) -> Scene:
    """The scene as `OneGridReader` gives it: bands of `gsd` and finer ones, all of that GSD."""
    bands = tuple(replace(band, gsd=gsd, factor=1) for band in scene.bands if band.gsd <= gsd)
    grid = scene.grids[gsd]
    return replace(scene, bands=bands, grids={gsd: grid}, window=grid.window)


@dataclass
class OneGridReader:
    """Bands of the scene that `source` reads, averaged onto the grid of `gsd`.

    A pixel is usable where all that it covers is; gaps take part in no mean and hold 0.
    """

    source: Reader
    scene: Scene
    gsd: int
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        self.grids = {self.gsd: self.scene.grids[self.gsd]}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Means in `window` of the one grid; `gsd` is that grid's."""
        own = [self.scene.gsd(name) for name in names]
        count, shape = len(names), window[2:]
        values, usable = np.zeros((count, *shape), np.float32), np.zeros((count, *shape), bool)
        for native in sorted(set(own)):
            at = [i for i, each in enumerate(own) if each == native]
            k = self.gsd // native
            read = self.source.read([names[i] for i in at], native, window.at(k), frame=frame)
            values[at], usable[at] = _means(read, k)
        true = np.ones(values.shape, bool)
        return Pixels(values, usable, true, ~true)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """What is not usable is not valid here; no mask of the file's is left."""
        return False


def _means(pixels: Pixels, k: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means over k × k of what is usable, and where all of it is."""

    def sums(x: NDArray[Any]) -> NDArray[np.float64]:
        count, rows, cols = x.shape
        blocks = x.reshape(count, rows // k, k, cols // k, k)
        return np.asarray(blocks.sum((2, 4), dtype=np.float64))

    good = sums(pixels.usable)
    mean = sums(np.where(pixels.usable, pixels.values, 0)) / np.maximum(good, 1)
    return mean.astype(np.float32), good == k * k
