"""Q2n (Garzelli and Nencini 2009): the quality index of hypercomplex pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.metrics.uiq import quality
from geosr.metrics.windows import Array, Carry, Mask, Mean

Q2N_BLOCK = 32


class Q2n:
    """Blocks of hypercomplex pixels; those cut by the right or lower edge are left out."""

    def __init__(self, bands: int) -> None:
        self.mean = Mean()
        self._units = _units(bands)
        self._carry = Carry.blocks(Q2N_BLOCK)

    def add(self, x: Array, y: Array, valid: Mask) -> None:
        x, y, valid = (_blocks(array) for array in self._carry.join(x, y, valid))
        if not x.size:
            return
        mean_x, mean_y = x.mean(-1, keepdims=True), y.mean(-1, keepdims=True)
        scale = _divisor(mean_x, x.std(-1, ddof=1, keepdims=True))
        x, y = (x - mean_x) / scale, (y - mean_y) / scale
        covariance = x @ y.transpose(0, 2, 1) / Q2N_BLOCK**2  # (blocks, bands, bands)
        hyper = np.linalg.norm(np.einsum("nij,ijk->nk", covariance, self._units), axis=-1)
        variances = ((x * x).sum((1, 2)) + (y * y).sum((1, 2))) / Q2N_BLOCK**2
        bands, size = self._units.shape[1:]
        power = (((mean_y - mean_x) / scale + 1) ** 2).sum((1, 2)) + size - bands  # of x it is size
        values = quality(np.sqrt(size * power), size + power, hyper, variances)
        self.mean.add(values, np.asarray(valid.all((1, 2))))


def _divisor(mean: Array, deviation: Array) -> Array:
    """Deviations; of flat bands the mean, and 1 where that is 0."""
    size = np.abs(mean)
    return np.where(deviation > 1e-6 * size, deviation, np.where(size > 0, size, 1.0))


def _blocks(values: NDArray[Any]) -> NDArray[Any]:
    """(bands, rows, cols) to (blocks, bands, 1024)."""
    side = Q2N_BLOCK
    bands, rows, cols = values.shape[0], values.shape[1] // side, values.shape[2] // side
    cut = values[:, : rows * side, : cols * side].reshape(bands, rows, side, cols, side)
    return cut.transpose(1, 3, 0, 2, 4).reshape(rows * cols, bands, side * side)


def _units(bands: int) -> Array:
    """(bands, bands, 2^n): the unit that e_i · conj(e_j) is, with its sign."""
    size = 1 << max(bands - 1, 0).bit_length()
    table = np.zeros((bands, bands, size))
    for i in range(bands):
        for j in range(bands):
            table[i, j, i ^ j] = _sign(i, j, size) * _conjugate(j)
    return table


def _conjugate(i: int) -> int:
    return -1 if i else 1


def _sign(i: int, j: int, size: int) -> int:
    """Of the product of two units, by (a, b)(c, d) = (ac − d*b, da + bc*) (Cayley-Dickson)."""
    if size == 1:
        return 1
    half = size // 2
    if i < half and j < half:
        return _sign(i, j, half)
    if i < half:
        return _sign(j - half, i, half)
    if j < half:
        return _sign(i - half, j, half) * _conjugate(j)
    return -_conjugate(j - half) * _sign(j - half, i - half, half)
