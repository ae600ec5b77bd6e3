"""What a coarser sensor would have seen: blur, then block means that keep the phase."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def reach(factor: int) -> int:
    """Fine pixels that `degrade` needs beyond the block on every side."""
    return len(kernel(factor)) // 2


def degrade(values: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Blur and average `values` (bands, rows, cols) down by `factor`.

    The array carries `reach(factor)` extra pixels on every side; the rest must be whole blocks.
    """
    taps = kernel(factor)
    blurred: NDArray[Any] = values
    for axis in (1, 2) if len(taps) > 1 else ():
        blurred = _convolve(blurred, taps, axis)
    bands, rows, cols = blurred.shape
    blocks = blurred.reshape(bands, rows // factor, factor, cols // factor, factor)
    return blocks.mean((2, 4), dtype=np.float64).astype(np.float32)


def _convolve(values: NDArray[Any], taps: NDArray[np.float64], axis: int) -> Any:
    """Valid convolution along one axis."""
    length = values.shape[axis] - len(taps) + 1
    at = [slice(None)] * values.ndim
    total: Any = 0.0
    for i, tap in enumerate(taps):
        at[axis] = slice(i, i + length)
        total = total + tap * values[tuple(at)]
    return total
