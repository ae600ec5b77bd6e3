"""Where a finer raster lies beside the coarse one that it is to guide, told by what they show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.raster.window import Window
from geosr.scene.correlation import displacement
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels
from geosr.scene.scene import Scene

_SIDE = 512  # coarse pixels along the window that is compared
_LEAST = 32  # below which nothing is told
_LEAST_DATES = 96  # the same of other dates: of 60 pixels the estimate was off by 0.4 of one
_FILL_REACH = 16
_ALIKE = 0.3  # correlation below which the two do not show the same
_LARGEST = 4.0  # coarse pixels; a larger shift is taken for a mistake
_WHOLE = 0.15  # fine pixels that the estimate may be off: so near to a whole one it is that one

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Displacement:
    """How far the guide of a scene lies off its coarse bands.

    Attributes:
        down, right: fine pixels by which its content is to be moved to fit; whole ones where the
            estimate is as near to them as it is exact.
        alike: correlation of the two where they are compared.
        note: why nothing is known, or "".
    """

    down: float = 0.0
    right: float = 0.0
    alike: float = 1.0
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.down or self.right)


def guide_displacement(scene: Scene, gsd: int) -> Displacement:
    """Where the finest bands of a scene lie beside the bands of `gsd`, from its middle.

    The combination of the coarse bands that comes nearest to the block means of the guide is
    registered with those by phase correlation.

    Raises:
        SceneError: a file cannot be decoded.
    """
    return _between(*_images(scene, gsd), gsd // scene.finest)


def reference_displacement(truth: Scene, reference: Scene, factor: int = 1) -> Displacement:
    """Where a reference lies beside the truth on whose grid it is, from their middle.

    Args:
        factor: of the block means that are compared: what an image so much coarser could tell.

    Raises:
        SceneError: a file cannot be decoded.
    """
    height, width = (min(n // factor, _SIDE) for n in truth.grid.shape)
    top, left = ((n - side * factor) // 2 for n, side in zip(truth.grid.shape, (height, width),
                                                              strict=True))  # fmt: skip
    window = Window(top, left, height * factor, width * factor)
    images = []
    for scene in (reference, truth):
        with scene.open() as reader:
            names = [band.name for band in scene.bands]
            images.append(_filled(reader.read(names, scene.finest, window)))
    guide, coarse = _grey(images[0], factor), _means(images[1], factor)
    return _between(guide, coarse, factor, least=_LEAST_DATES)


def _between(guide: Array, coarse: Array, factor: int, least: int = _LEAST) -> Displacement:
    """Where a guide's block means lie beside coarse bands."""
    if min(guide.shape) < least:
        return Displacement(note=f"fewer than {least} pixels to compare")
    down, right, alike = displacement(_intensity(coarse, guide), guide)
    if alike < _ALIKE or max(abs(down), abs(right)) > _LARGEST or not math.isfinite(alike):
        said = f"correlation {alike:.2f} at {down:.2f}, {right:.2f} px"
        return Displacement(alike=alike, note=said)
    return Displacement(rounded(down * factor), rounded(right * factor), alike)


def rounded(shift: float) -> float:
    """A shift in pixels, whole where the estimate is as near to that as it is exact."""
    return float(round(shift)) if abs(shift - round(shift)) <= _WHOLE else round(shift, 2)


def _images(scene: Scene, gsd: int) -> tuple[Array, Array]:
    """Block means of the guide, (rows, cols), and the coarse bands, (bands, rows, cols)."""
    grid, factor = scene.grids[gsd], gsd // scene.finest
    height, width = (min(n, _SIDE) for n in grid.shape)
    window = Window((grid.height - height) // 2, (grid.width - width) // 2, height, width)
    names = [band.name for band in scene.select(gsd=gsd)]
    guides = [band.name for band in scene.select(gsd=scene.finest)]
    with scene.open() as reader:
        coarse = _filled(reader.read(names, gsd, window))
        fine = _filled(reader.read(guides, scene.finest, window.at(factor)))
    return _grey(fine, factor), coarse


def _grey(fine: Array, factor: int) -> Array:
    """Block means of all bands together, each of which counts as much, (rows, cols)."""
    spread = fine.std((1, 2), keepdims=True)
    fine = (fine - fine.mean((1, 2), keepdims=True)) / np.where(spread, spread, 1)
    return _means(fine.mean(0, keepdims=True), factor)[0]


def _means(fine: Array, factor: int) -> Array:
    """Block means, (bands, rows, cols)."""
    bands, height, width = fine.shape
    blocks = (bands, height // factor, factor, width // factor, factor)
    return fine.reshape(blocks).mean((2, 4))


def _filled(pixels: Pixels) -> Array:
    return fill(pixels.values, pixels.usable, _FILL_REACH).astype(np.float64)


def _intensity(coarse: Array, guide: Array) -> Array:
    """The combination of coarse bands and one that is nearest to the guide, (rows, cols)."""
    columns = np.stack([*coarse.reshape(len(coarse), -1), np.ones(guide.size)], 1)
    weights = np.linalg.lstsq(columns, guide.ravel(), rcond=None)[0]
    return np.asarray((columns @ weights).reshape(guide.shape))
