"""SSIM (Wang et al. 2004) and MS-SSIM (Wang et al. 2003)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.metrics.windows import Array, Carry, Figure, Mask, Mean, unmasked

SSIM_WINDOW = 11  # a Gaussian of σ = 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, finest first


def similarity(x: Array, y: Array, peak: float) -> tuple[Array, Array]:
    """SSIM's luminance and its contrast-structure, their product is SSIM.

    (rows, cols) in, (rows − 10, cols − 10) out: one value per Gaussian window that lies inside.
    Both sides are at least 11.
    """
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _blur(x * y) - product
    variances = _blur(x * x + y * y) - squares
    return (2 * product + c1) / (squares + c1), (2 * covariance + c2) / (variances + c2)


class Scale:
    """One scale of MS-SSIM; the finest alone is SSIM."""

    def __init__(self, peak: float) -> None:
        self.peak = peak
        self.ssim, self.contrast = Mean(), Mean()
        self._carry, self._odd = Carry.windows(SSIM_WINDOW), Carry.blocks(2)

    def add(self, x: Array, y: Array, valid: Mask) -> None:
        x, y, valid = self._carry.join(x, y, valid)
        if min(x.shape) < SSIM_WINDOW:
            return
        luminance, contrast = similarity(x, y, self.peak)
        kept = unmasked(valid, SSIM_WINDOW)
        self.ssim.add(luminance * contrast, kept)
        self.contrast.add(contrast, kept)

    def halve(self, x: Array, y: Array, valid: Mask) -> tuple[Array, Array, Mask]:
        """The rows of the next scale that are whole by now; an odd last column is left out."""
        x, y, valid = (_pairs(array) for array in self._odd.join(x, y, valid))
        return x.mean((1, 3)), y.mean((1, 3)), np.asarray(valid.all((1, 3)))


def _pairs(values: NDArray[Any]) -> NDArray[Any]:
    rows, cols = (side // 2 for side in values.shape)
    return values[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2)


def multiscale(scales: Sequence[Scale]) -> Figure:
    means = [scale.contrast.value for scale in scales[:-1]] + [scales[-1].ssim.value]
    known = [value for value in means if value is not None]
    if len(known) < len(means):
        return None
    return math.prod(
        value if math.isnan(value) else max(value, 0.0) ** weight
        for value, weight in zip(known, SCALES, strict=True)
    )


def _gaussian() -> Array:
    at = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(at**2) / (2 * 1.5**2))
    return np.asarray(weights / weights.sum())


_TAPS = _gaussian()


def _blur(values: Array) -> Array:
    """Gaussian means of all windows that lie inside; taps in pairs, the window is symmetric."""
    last = SSIM_WINDOW - 1
    for axis in (0, 1):
        moved = np.moveaxis(values, axis, 0)
        length = len(moved) - last
        total = moved[last // 2 : last // 2 + length] * _TAPS[last // 2]
        pair = np.empty_like(total)
        for i in range(last // 2):
            np.add(moved[i : i + length], moved[last - i : last - i + length], out=pair)
            pair *= _TAPS[i]
            total += pair
        values = np.moveaxis(total, 0, axis)
    return values
