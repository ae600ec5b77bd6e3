"""What a coarser sensor would have seen, with the phase of block means.

Every operator is separable and centred on the coarse pixel: coarse pixel i covers the fine pixels
s·i … s·i + s − 1, and its centre is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.scene import pointspread

OPERATORS = ("gaussian", "sensor", "bicubic", "box", "blur-noise")
IMAGE_MTF = 0.3  # at Nyquist, for sensors whose own point spread is not known
_TAIL = 0.002  # of a softening's taps, where they are cut


def kernel(factor: int) -> NDArray[np.float64]:
    """Gaussian of σ = 1/factor fine pixels, cut at 4 σ, sum one (Lanaras et al. 2018).

    Taps below float32's resolution are dropped: at factor 6 a delta is left, and the degradation
    is a pure block mean.
    """
    sigma = 1 / factor
    radius = math.floor(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = weights[weights > 1e-7]
    return np.asarray(weights / weights.sum())


def box(factor: int) -> NDArray[np.float64]:
    """Taps of a block mean."""
    return np.full(factor, 1 / factor)


def gaussian(factor: int) -> NDArray[np.float64]:
    """Taps of the published degradation: that Gaussian, then a block mean."""
    return np.convolve(kernel(factor), box(factor))


def point_spread(factor: int, sigma: float, *, shift: float = 0.0) -> NDArray[np.float64]:
    """Taps of one Gaussian of `sigma` fine pixels at the coarse centre, moved by `shift`."""
    radius = math.ceil(4 * sigma + abs(shift)) + 1
    at = np.arange(-radius, factor + radius) - (factor - 1) / 2
    weights = np.exp(-0.5 * ((at - shift) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def softening(sigma: float) -> NDArray[np.float64]:
    """Taps of a Gaussian blur of `sigma` pixels, right for a fraction of a pixel too.

    Its transfer exp(-σ²ω²/2) up to the Nyquist frequency, brought back to pixels: samples of a
    Gaussian that is narrower than a pixel would blur less.
    """
    at = np.arange(-math.ceil(4 * sigma) - 16, math.ceil(4 * sigma) + 17)
    turns = np.linspace(0, np.pi, 2049)
    transfer = np.exp(-0.5 * (sigma * turns) ** 2)
    weights = np.trapezoid(transfer * np.cos(at[:, None] * turns), turns, axis=1) / np.pi
    weights = weights[np.abs(at) <= np.abs(at[np.abs(weights) > _TAIL]).max()]
    return np.asarray(weights / weights.sum())


def of_image(factor: int) -> NDArray[np.float64]:
    """Taps of the Gaussian whose transfer at the coarse Nyquist frequency is `IMAGE_MTF`.

    It is the whole point spread, no block mean follows.
    """
    return point_spread(factor, image_sigma(factor))


def image_sigma(factor: float) -> float:
    """σ = s·sqrt(−2 ln MTF / π²) fine pixels of that Gaussian."""
    return factor * math.sqrt(-2 * math.log(IMAGE_MTF)) / math.pi


def of_band(name: str, factor: int, gsd: float) -> NDArray[np.float64]:
    """Taps of a band's own point spread: pixels of `gsd` metres to pixels `factor` times larger.

    A band whose point spread at that scale is not known sees like an image's sensor.
    """
    sigma = pointspread.relative(name) if gsd == pointspread.finest(name) else 0.0
    return point_spread(factor, sigma / gsd) if sigma else of_image(factor)


def bicubic(factor: int, *, shift: float = 0.0) -> NDArray[np.float64]:
    """Taps of anti-aliased cubic convolution, a = −0.5, as image libraries shrink pictures.

    Args:
        shift: fine pixels by which the coarse centre is moved.
    """
    moved = math.ceil(abs(shift))
    at = np.arange(-2 * factor - moved, 3 * factor + moved) - (factor - 1) / 2
    weights = cubic(np.abs(at - shift) / factor)
    return np.asarray(weights / weights.sum())


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution's kernel, a = −0.5, at distances from its centre."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def taps(operator: str, factor: int, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Taps of an operator by name; "blur-noise" draws its Gaussian from `rng`.

    Without `rng` its blur is the middle one.
    """
    if operator == "blur-noise":
        width = 0.4 if rng is None else rng.uniform(0.2, 0.6)
        return point_spread(factor, width * factor)
    made = {"gaussian": gaussian, "sensor": of_image, "bicubic": bicubic, "box": box}
    return made[operator](factor)


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Noise of "blur-noise" in unit values: white, its deviation drawn up to 0.01."""
    return rng.normal(0, rng.uniform(0, 0.01), shape).astype(np.float32)


def reach(factor: int) -> int:
    """Fine pixels that `degrade` needs beyond the block on every side."""
    return len(kernel(factor)) // 2


def degrade(values: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Blur and average `values` (bands, rows, cols) down by `factor`, the published way.

    The array carries `reach(factor)` extra pixels on every side; the rest must be whole blocks.
    """
    weights = kernel(factor)
    blurred: NDArray[Any] = values
    for axis in (1, 2) if len(weights) > 1 else ():
        blurred = _convolve(blurred, weights, axis)
    bands, rows, cols = blurred.shape
    blocks = blurred.reshape(bands, rows // factor, factor, cols // factor, factor)
    return blocks.mean((2, 4), dtype=np.float64).astype(np.float32)


def beyond(weights: NDArray[np.float64], factor: int) -> int:
    """Fine pixels that `shrink` needs beyond the block on every side."""
    return (len(weights) - factor) // 2


def shrink(
    values: NDArray[Any],
    factor: int,
    down: NDArray[np.float64],
    across: NDArray[np.float64],
    *,
    pad: int,
) -> NDArray[np.float32]:
    """Filter (…, rows, cols) by taps along rows and columns, and keep one pixel of `factor`.

    Args:
        pad: extra pixels that the array carries on every side, at least `beyond` of the taps;
            the rest is whole blocks.
    """
    result: NDArray[Any] = values
    for axis, weights in ((-2, down), (-1, across)):
        spare = pad - beyond(weights, factor)
        moved = np.moveaxis(result, axis, -1)
        moved = moved[..., spare : moved.shape[-1] - spare]
        views = np.lib.stride_tricks.sliding_window_view(moved, len(weights), -1)
        result = np.moveaxis(views[..., ::factor, :] @ weights.astype(np.float32), -1, axis)
    return np.ascontiguousarray(result, np.float32)


def shrink_each(
    values: NDArray[Any], factor: int, taps: Sequence[NDArray[np.float64]], *, pad: int
) -> NDArray[np.float32]:
    """`shrink` for bands (bands, rows, cols) that have taps of their own, alike both ways."""
    return np.stack([
        shrink(band, factor, weights, weights, pad=pad)
        for band, weights in zip(values, taps, strict=True)
    ])  # fmt: skip


def _convolve(values: NDArray[Any], taps: NDArray[np.float64], axis: int) -> Any:
    """Valid convolution along one axis."""
    length = values.shape[axis] - len(taps) + 1
    at = [slice(None)] * values.ndim
    total: Any = 0.0
    for i, tap in enumerate(taps):
        at[axis] = slice(i, i + length)
        total = total + tap * values[tuple(at)]
    return total
