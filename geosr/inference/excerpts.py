"""What is looked at of a scene before a net learns on it, and what that tells of its sensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.models.card import ModelCard
from geosr.models.nets.fitted import projection
from geosr.raster.window import Window
from geosr.scene import blind, degradation
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import NET_QUANTIFICATION, reflectance
from geosr.scene.scene import Scene

LEAST = blind.WINDOW  # pixels a side: with less, neither a spectrum nor pairs can be had
_WINDOWS, _SIDE = 64, 128  # of a large scene
_BANDS = 4  # of them so many windows; of more bands fewer
FILL_REACH = 8
_SENSED = 0.9  # share of a window that must have been sensed
_TRIES = 50  # places that are drawn for one crop
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Excerpts:
    """Windows of a scene in unit values, gaps filled; each (bands, rows, cols)."""

    values: Sequence[Array]
    usable: Sequence[NDArray[np.bool_]]

    def sensed(self) -> Array:
        """Every usable value."""
        both = zip(self.values, self.usable, strict=True)
        return np.concatenate([values[usable] for values, usable in both])

    @property
    def side(self) -> int:
        """The shorter side of the smallest window."""
        return min(min(window.shape[1:]) for window in self.values)

    def crop(self, side: int, rng: np.random.Generator) -> Array:
        """A square of one band from anywhere it was sensed."""
        for _ in range(_TRIES):
            at = int(rng.integers(len(self.values)))
            values, usable = self.values[at], self.usable[at]
            band = int(rng.integers(len(values)))
            row, col = (int(rng.integers(n - side + 1)) for n in values.shape[1:])
            here = (band, slice(row, row + side), slice(col, col + side))
            if usable[here].mean() >= _SENSED:
                break
        return values[here]


def read(
    scene: Scene, reader: Reader, names: Sequence[str], card: ModelCard, rng: np.random.Generator
) -> Excerpts:
    """The whole scene where it is small, else windows spread over it."""
    height, width = scene.grids[scene.finest].shape
    if min(height, width) < LEAST:
        raise SceneError(
            f"{scene.path} has {height} × {width} px: too small for '{card.name}' to learn from, "
            f"which needs {LEAST} × {LEAST}. Use a trained net (--model edsr-baseline), or "
            "--model bicubic."
        )
    values, usable = [], []
    for window in _places(height, width, len(names), rng):
        pixels = reader.read(names, scene.finest, window)
        if pixels.usable.mean() >= _SENSED or window[2:] == (height, width):
            counts = fill(pixels.values, pixels.usable, FILL_REACH)
            values.append(reflectance(scene, names, counts) / np.float32(NET_QUANTIFICATION))
            usable.append(pixels.usable)
    sensed = sum(int(each.sum()) for each in usable)
    if sensed < LEAST**2:
        raise SceneError(
            f"{scene.path}: {sensed} pixels were sensed where '{card.name}' looked, too few to "
            f"learn from ({LEAST**2} are needed). Use a trained net (--model edsr-baseline), or "
            "--model bicubic."
        )
    return Excerpts(values, usable)


def _places(height: int, width: int, bands: int, rng: np.random.Generator) -> list[Window]:
    """One window in each part of a grid over the scene, or the whole where that is no more."""
    count = max(_WINDOWS * _BANDS // max(bands, _BANDS), 4)
    if height * width <= count * _SIDE**2:
        return [Window(0, 0, height, width)]
    side = min(_SIDE, height, width)
    down = min(max(round(math.sqrt(count * height / width)), 1), height // side)
    across = min(max(count // down, 1), width // side)
    found = []
    for i in range(down):
        for j in range(across):
            rows = (i * height // down, (i + 1) * height // down - side)
            cols = (j * width // across, (j + 1) * width // across - side)
            row, col = (int(rng.integers(a, b + 1)) for a, b in (rows, cols))
            found.append(Window(row, col, side, side))
    return found


def kernel_of(excerpts: Excerpts, factor: int, wanted: str) -> tuple[NDArray[np.float64], str]:
    """The kernel of `factor` that made the scene, and what it is in words."""
    found = _spread(excerpts) if wanted == "auto" else None
    if found is None:
        return projection.bicubic(factor), "cubic convolution"
    kernel = projection.gaussian(factor, found.covariance * factor**2)
    squares, axes = np.linalg.eigh(degradation.covariance(kernel))
    turn = round(math.degrees(math.atan2(axes[0, 1], axes[1, 1]))) % 180
    small, large = np.sqrt(np.maximum(squares, 0))
    return kernel, f"a Gaussian of {large:.2f} × {small:.2f} px, its long axis {turn}° down"


def _spread(excerpts: Excerpts) -> blind.Spread | None:
    """What the mean spectrum of all bands and windows tells, every band by its own variance."""
    powers, noises = [], []
    for values, usable in zip(excerpts.values, excerpts.usable, strict=True):
        for band, known in zip(values.astype(np.float64), usable, strict=True):
            deviation = float(band.std())
            if deviation > 0 and known.mean() >= _SENSED:
                powers.append(blind.spectrum(band / deviation))
                noises.append(blind.noise(band / deviation))
    if not powers:
        return None
    return blind.spread(np.mean(powers, 0), float(np.median(noises)))
