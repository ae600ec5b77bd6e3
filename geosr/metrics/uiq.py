"""The universal image quality index (Wang and Bovik 2002)."""

from __future__ import annotations

import numpy as np

from geosr.metrics.windows import Array

UIQ_WINDOW = 8  # sliding by one pixel, no padding


def uiq(x: Array, y: Array) -> Array:
    """Q of every window."""
    mean_x, mean_y = box(x), box(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    variances = box(x * x + y * y) - squares
    return quality(product, squares, box(x * y) - product, variances)


def box(values: Array) -> Array:
    """Means over all windows of 8 × 8 that lie wholly inside; equal values keep their bits."""
    for step in (1, 2, 4):  # sums double: 2, 4, 8
        values = values[:-step] + values[step:]
        values = values[:, :-step] + values[:, step:]
    return values / UIQ_WINDOW**2


def quality(product: Array, squares: Array, covariance: Array, variances: Array) -> Array:
    """Wang and Bovik's Q from x̄·ȳ, x̄² + ȳ², σxy and σx² + σy²."""
    flat = variances <= 1e-12 * np.maximum(squares, 1e-300)  # what rounding leaves of nothing
    with np.errstate(invalid="ignore", divide="ignore"):
        luminance = np.where(squares == 0, 1.0, 2 * product / squares)
        return luminance * np.where(flat, 1.0, 2 * covariance / variances)
