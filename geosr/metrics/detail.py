"""Sharp or right: how much fine detail an image has, and how much of it is the truth's.

Arrays are (bands, rows, cols) of one grid; `low` is the input brought to it by interpolation, so
that detail is what lies beyond it: of the truth t = truth − low, of the estimate e = estimate −
low. The idea of telling omission from hallucination is opensr-test's (Aybar et al. 2024); these
figures are plain sums, which no threshold and no histogram enters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 16  # pixels along an image that has a spectrum worth telling
FIGURES = ("power_ratio", "detail_gain", "detail_right", "detail_missing", "detail_invented")

Array = NDArray[np.float64]


def power_ratio(estimate: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """The estimate's power over the truth's, at a quarter to a half cycle per pixel.

    That is the upper half of the frequencies along a row, in every direction; Hann windows, sums
    over bands. 1 is as sharp as the truth, right or not; None where the truth is flat there.
    """
    made, true = (_upper(np.asarray(image, np.float64)) for image in (estimate, truth))
    return made / true if true > 0 else None


def detail(
    estimate: NDArray[Any], truth: NDArray[Any], low: NDArray[Any]
) -> dict[str, float | None]:
    """Gain and shares of detail, None where neither image has any.

    Returns:
        "detail_gain", ⟨e, t⟩ / ⟨t, t⟩: 1 is all of the truth's, 0 none. Of the sum of max(|e|,
        |t|) where signs agree and |e| + |t| where not: "detail_right", what both have;
        "detail_missing", what only the truth has (omission); "detail_invented", what only the
        estimate has (hallucination). The three sum to 1.
    """
    e, t = (np.asarray(image, np.float64) - low for image in (estimate, truth))
    right = np.where(e * t > 0, np.minimum(np.abs(e), np.abs(t)), 0.0).sum()
    parts = np.array([right, np.abs(t).sum() - right, np.abs(e).sum() - right])
    power, total = float((t * t).sum()), float(parts.sum())
    found: dict[str, float | None] = {
        "detail_gain": float((e * t).sum()) / power if power else None
    }
    shares = [float(part) / total if total else None for part in parts]
    return found | dict(zip(FIGURES[2:], shares, strict=True))


def _upper(image: Array) -> float:
    """Power between a quarter and a half cycle per pixel, by distance from zero frequency."""
    rows, cols = image.shape[1:]
    window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1])
    flat = (image - image.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(flat)) ** 2).sum(0)
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols)[None])
    return float(power[(radius >= 0.25) & (radius <= 0.5)].sum())
