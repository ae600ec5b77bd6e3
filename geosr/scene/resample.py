"""What a coarser sensor would have seen, coarser by any factor: `geosr.scene.degrade` for 2.5.

Coarse pixel i covers the fine pixels from i · factor to (i + 1) · factor, parts of pixels included,
and its centre is theirs. At whole factors the weights are the taps of `degrade`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader, fold

OPERATORS = ("bicubic", "sensor", "box", "blur-noise")
_FILL_REACH = 16
_BLUR = (0.2, 0.6)  # σ of "blur-noise" by the factor; the middle one where nothing is drawn


def pad(factor: float) -> int:
    """Fine pixels that any operator needs beyond the coarse ones on every side."""
    return math.ceil(2.5 * factor) + 2


@dataclass(frozen=True)
class Lines:
    """What fine pixels weigh in coarse ones along one axis.

    Attributes:
        first: by coarse pixel, the first fine pixel that has a weight.
        weights: (coarse pixels, n) of the fine ones from there on; every row sums to one.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.float32]


def lines(
    operator: str, factor: float, count: int, *, pad: int, start: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Lines:  # fmt: skip
    """The weights of an operator in `count` coarse pixels.

    Args:
        factor: fine pixels along a coarse one.
        pad: fine pixels that lie before those of the first coarse pixel, and behind the last's.
        start: where the first coarse pixel begins behind those, 0 … 1.
        rng: "blur-noise" draws its Gaussian from it.

    Raises:
        UsageError: the operator is defined for whole factors alone.
    """
    if operator not in OPERATORS:
        raise UsageError(
            f"degradation '{operator}' is defined for whole factors, not for {factor:g}. "
            f"Choose {', '.join(OPERATORS)}."
        )
    centres = pad + start + (np.arange(count) + 0.5) * factor
    reach = factor / 2 + pad
    first = np.ceil(centres - reach - 1e-6).astype(np.int64)
    wide = math.floor(2 * reach + 1e-6)
    away = np.abs(first[:, None] + np.arange(wide) + 0.5 - centres[:, None])
    if operator == "bicubic":
        weights = degrade.cubic(away / factor)
    elif operator == "box":
        weights = np.clip(factor / 2 + 0.5 - away, 0.0, 1.0)
    else:
        weights = _gaussian(away, factor, _sigma(operator, factor, rng))
    return Lines(first, (weights / weights.sum(1, keepdims=True)).astype(np.float32))


def _sigma(operator: str, factor: float, rng: np.random.Generator | None) -> float:
    """σ in fine pixels of the operators that are a Gaussian at the coarse centre."""
    if operator == "sensor":
        return degrade.image_sigma(factor)
    return factor * (sum(_BLUR) / 2 if rng is None else rng.uniform(*_BLUR))


def _gaussian(away: NDArray[np.float64], factor: float, sigma: float) -> NDArray[np.float64]:
    """A Gaussian, cut as far out as `degrade.point_spread` cuts it."""
    reach = math.ceil(4 * sigma) + 1 + (factor - 1) / 2 + 1e-6
    return np.where(away <= reach, np.exp(-0.5 * (away / sigma) ** 2), 0.0)


def shrink(values: NDArray[np.float32], down: Lines, across: Lines) -> NDArray[np.float32]:
    """(…, rows, cols) seen along rows and columns."""
    rows = _seen(np.moveaxis(values, -2, -1), down)
    return np.ascontiguousarray(_seen(np.moveaxis(rows, -1, -2), across))


def _seen(values: NDArray[np.float32], along: Lines) -> NDArray[np.float32]:
    """Along the last axis; memory is that of the result."""
    total = np.zeros((*values.shape[:-1], len(along.first)), np.float32)
    for k in range(along.weights.shape[1]):
        total += values[..., along.first + k] * along.weights[:, k]
    return total


@dataclass
class ResampledReader:
    """A scene of images `factor` times coarser, any number above 1, than the one `source` reads.

    It has the upper-left corner of the scene and as many whole coarse pixels as it covers; edges
    are padded symmetrically there. Gaps are filled before they are degraded.

    Args:
        operator: one of `OPERATORS`.
    """

    source: Reader
    factor: float
    operator: str = "bicubic"
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        self.grids = {gsd: grid.coarser_by(self.factor) for gsd, grid in self.source.grids.items()}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Degraded bands in `window` of the coarse grid; all pixels count as valid."""
        folded, beside = fold(window, *self.grids[gsd].shape), pad(self.factor)
        fine, down, across = seen(folded.hull, self.factor, self.operator)
        pixels = self.source.read(names, gsd, fine.grow(beside), frame=frame)
        usable = pixels.valid & ~pixels.saturated
        values = shrink(fill(pixels.values, usable, _FILL_REACH), down, across)
        true = np.ones(values.shape, bool)
        return folded.take(Pixels(values, true, true, ~true))

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False


def seen(window: Window, factor: float, operator: str) -> tuple[Window, Lines, Lines]:
    """Fine pixels under a window of coarse ones, and what they weigh with `pad` around them."""
    rows, cols = (
        _covered(first, count, factor) for first, count in zip(window[:2], window[2:], strict=True)
    )
    down, across = (
        lines(operator, factor, count, pad=pad(factor), start=start)
        for count, (*_, start) in zip(window[2:], (rows, cols), strict=True)
    )
    return Window(rows[0], cols[0], rows[1], cols[1]), down, across


def _covered(first: int, count: int, factor: float) -> tuple[int, int, float]:
    """Fine pixels under coarse ones: the first, how many, and where in it the coarse begin."""
    begin = first * factor
    top = math.floor(begin + 1e-6)
    start = max(begin - top, 0.0)
    return top, math.ceil(start + count * factor - 1e-6), start
