"""Scores of an estimate against a truth: masked, float64, one strip of rows at a time.

x is the truth, y the estimate, in counts (10000 = reflectance 1); sums run over valid pixels.
Formulas: Lanaras et al. 2018 (RMSE, SRE, SAM), Wang and Bovik 2002 (UIQ).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

UIQ_WINDOW = 8  # sliding by one pixel, no padding


class Scores:
    """Streams strips of a scene and tells its scores at the end.

    Args:
        names: bands, in the order of the arrays' first axis.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        count = len(self.names)
        self._n = np.zeros(count)
        self._squared = np.zeros(count)
        self._truth = np.zeros(count)
        self._angles = 0.0
        self._angle_n = 0
        self._uiq = np.zeros(count)
        self._uiq_n = np.zeros(count)
        self._tail: tuple[NDArray[np.float64], ...] | None = None

    def add(
        self, truth: NDArray[np.floating], estimate: NDArray[np.floating], mask: NDArray[np.bool_]
    ) -> None:
        """The next rows, top to bottom; arrays are (bands, rows, cols), mask True is valid."""
        x = np.where(mask, truth, 0.0).astype(np.float64)
        y = np.where(mask, estimate, 0.0).astype(np.float64)
        self._n += mask.sum((1, 2))
        self._squared += ((x - y) ** 2).sum((1, 2))
        self._truth += x.sum((1, 2))
        self._add_angles(x, y, np.asarray(mask.all(0)))
        self._add_uiq(x, y, mask)

    def _add_angles(
        self, x: NDArray[np.float64], y: NDArray[np.float64], valid: NDArray[np.bool_]
    ) -> None:
        norms = np.sqrt((x * x).sum(0) * (y * y).sum(0))
        usable = valid & (norms > 0)
        cosine = (x * y).sum(0)[usable] / norms[usable]
        self._angles += float(np.arccos(np.clip(cosine, -1, 1)).sum())
        self._angle_n += int(usable.sum())

    def _add_uiq(
        self, x: NDArray[np.float64], y: NDArray[np.float64], mask: NDArray[np.bool_]
    ) -> None:
        """Windows reach back over the seam of two strips."""
        strip = (x, y, mask.astype(np.float64))
        if self._tail is not None:
            strip = tuple(np.concatenate(p, 1) for p in zip(self._tail, strip, strict=True))  # type: ignore[assignment]
        self._tail = tuple(array[:, -(UIQ_WINDOW - 1) :] for array in strip)
        if min(strip[0].shape[1:]) < UIQ_WINDOW:
            return
        for band, arrays in enumerate(zip(*strip, strict=True)):
            q, whole = _uiq(*arrays)
            self._uiq[band] += q[whole].sum()
            self._uiq_n[band] += whole.sum()

    @property
    def rmse(self) -> dict[str, float | None]:
        """Root mean square error by band, in counts; None where nothing is valid."""
        return self._by_band(lambda i: math.sqrt(self._squared[i] / self._n[i]), self._n)

    @property
    def sre(self) -> dict[str, float | None]:
        """10·log10(mean(x)² / MSE) by band, dB; infinite without an error."""

        def one(i: int) -> float:
            mse = self._squared[i] / self._n[i]
            signal = (self._truth[i] / self._n[i]) ** 2
            if mse == 0:
                return math.inf
            return 10 * math.log10(signal / mse) if signal else -math.inf

        return self._by_band(one, self._n)

    @property
    def uiq(self) -> dict[str, float | None]:
        """Universal image quality by band: mean over 8 × 8 windows that are wholly valid."""
        return self._by_band(lambda i: self._uiq[i] / self._uiq_n[i], self._uiq_n)

    @property
    def sam(self) -> float | None:
        """Mean spectral angle over the bands, degrees; pixels of zero length are skipped."""
        return math.degrees(self._angles / self._angle_n) if self._angle_n else None

    def _by_band(
        self, one: Callable[[int], float], counts: NDArray[np.float64]
    ) -> dict[str, float | None]:
        return {n: float(one(i)) if counts[i] else None for i, n in enumerate(self.names)}


def _uiq(
    x: NDArray[np.float64], y: NDArray[np.float64], mask: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Q of every window, and which windows are wholly valid; flat windows by their means."""
    n = UIQ_WINDOW * UIQ_WINDOW
    mean_x, mean_y = _box(x) / n, _box(y) / n
    variance = _box(x * x) / n - mean_x**2 + _box(y * y) / n - mean_y**2
    covariance = _box(x * y) / n - mean_x * mean_y
    means = mean_x**2 + mean_y**2
    flat = variance <= 1e-12 * np.maximum(means, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        luminance = np.where(means > 0, 2 * mean_x * mean_y / means, 1.0)
        q = luminance * np.where(flat, 1.0, 2 * covariance / variance)
    return q, _box(mask) > n - 0.5


def _box(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over all windows that lie wholly inside."""
    for axis in (0, 1):
        views = np.lib.stride_tricks.sliding_window_view(values, UIQ_WINDOW, axis)
        values = views.sum(-1)
    return values
