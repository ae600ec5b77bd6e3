"""The rules of the Kelvins competition on Proba-V super-resolution: cPSNR, cSSIM, score.

Images are (rows, cols) in [0, 1], which is uint16 / 65535; uint16 is taken as it is. Clear is True
where a pixel of the truth may be compared (Märtens et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.metrics.ssim import similarity

BORDER = 3  # pixels that the estimate loses, the largest shift that is tried
FACTOR = 3
PEAK = 65535

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def cpsnr(sr: NDArray[Any], hr: NDArray[Any], clear: NDArray[Any]) -> tuple[float, tuple[int, int]]:
    """PSNR with peak 1 in dB at the best of 49 shifts, and that shift as (rows, cols), 0 to 6.

    The estimate loses 3 px on every side and its mean is set to the truth's at every shift. (3, 3)
    is no shift. Infinite without an error. The competition rounded to uint16 first; give uint16 to
    have its numbers.

    Raises:
        UsageError: not one shape, below 7 px, counts given as floats, NaN where it is clear, or no
            clear pixel.
    """
    best, at = -math.inf, (BORDER, BORDER)
    for shift, inner, moved, seen in _shifts(sr, hr, clear):
        error = (moved - inner)[seen]
        mse = float(np.mean((error - error.mean()) ** 2))
        value = -10 * math.log10(mse) if mse else math.inf
        if value > best:
            best, at = value, shift
    return best, at


def cssim(sr: NDArray[Any], hr: NDArray[Any], clear: NDArray[Any]) -> float:
    """SSIM with peak 1 at the best of 49 shifts, the mean set to the truth's as in `cpsnr`.

    Masked pixels are 0 in both images and their windows count, so clouds raise it: the plain
    form. Gaussian window of 11 × 11.

    Raises:
        UsageError: as `cpsnr`, or below 17 px.
    """
    if min(sr.shape) < 11 + 2 * BORDER:
        raise UsageError(f"cSSIM: images of {_size(sr)} px, the least is 17 × 17. Give larger.")
    return max(_ssim(inner, moved, seen) for _, inner, moved, seen in _shifts(sr, hr, clear))


def score(cpsnr: float, norm: float) -> float:
    """The baseline's cPSNR over this one: lower is better, 1 is as good as the baseline."""
    return norm / cpsnr


def read_norm(path: Path) -> dict[str, float]:
    """Image set to the baseline's cPSNR in dB, from lines like `imgset0000 52.35`.

    Raises:
        UsageError: the file cannot be read, or a line is something else.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}). Give Proba-V's norm.csv.") from error
    return dict(_norm(path, i, line) for i, line in enumerate(lines, 1) if line.strip())


def baseline(frames: NDArray[Any], clear: NDArray[Any]) -> Array:
    """The organisers' image: the clearest frames, three times enlarged, averaged; not rounded.

    Frames tied at the most clear pixels all count. Each is enlarged by cubic convolution (Keys
    1981, a = −0.5) between pixel centres, edges repeated, and clipped to its own range.

    Args:
        frames: (frames, rows, cols).
        clear: of the same shape.

    Returns:
        (3·rows, 3·cols) in [0, 1].

    Raises:
        UsageError: no frame, shapes that differ, or counts given as floats.
    """
    if frames.ndim != 3 or not len(frames) or frames.shape != clear.shape:
        raise UsageError(
            f"baseline: frames of shape {frames.shape} and masks of {clear.shape}. "
            "Give both as (frames, rows, cols), at least one."
        )
    counts = np.count_nonzero(clear, (1, 2))
    chosen = _unit(frames[counts == counts.max()])
    return np.asarray(np.mean([_enlarge(frame) for frame in chosen], 0))


def _shifts(
    sr: NDArray[Any], hr: NDArray[Any], clear: NDArray[Any]
) -> Iterator[tuple[tuple[int, int], Array, Array, Mask]]:
    """(shift, estimate, truth, clear) of every shift at which something is clear."""
    if sr.ndim != 2 or not sr.shape == hr.shape == clear.shape or min(sr.shape) <= 2 * BORDER:
        raise UsageError(
            f"Kelvins: estimate {_size(sr)}, truth {_size(hr)} and mask {_size(clear)} px. "
            "Give three of one size, at least 7 × 7."
        )
    x, y, valid = _unit(sr), _unit(hr), clear.astype(bool)
    rows, cols = (side - 2 * BORDER for side in x.shape)
    inner = x[BORDER : BORDER + rows, BORDER : BORDER + cols]
    if not valid.any():
        raise UsageError("Kelvins: the truth has no clear pixel. Leave this image set out.")
    for u in range(2 * BORDER + 1):
        for v in range(2 * BORDER + 1):
            at = (slice(u, u + rows), slice(v, v + cols))
            seen = valid[at]
            if not np.isfinite((y[at] - inner)[seen]).all():
                raise UsageError("Kelvins: NaN or infinity where it is clear. Mask it, or mend it.")
            if seen.any():
                yield (u, v), inner, y[at], seen


def _ssim(inner: Array, moved: Array, seen: Mask) -> float:
    bias = (moved - inner)[seen].mean()
    luminance, contrast = similarity(
        np.where(seen, inner + bias, 0.0), np.where(seen, moved, 0.0), 1.0
    )
    return float((luminance * contrast).mean())


def _unit(image: NDArray[Any]) -> Array:
    if image.dtype == np.uint16:
        return np.asarray(image / np.float64(PEAK))
    if not np.issubdtype(image.dtype, np.floating) or (image > 1).any():
        raise UsageError(
            f"Kelvins: an image of {image.dtype} up to {image.max()}. "
            "Give uint16, or floats in [0, 1]: counts / 65535."
        )
    return image.astype(np.float64)


def _size(image: NDArray[Any]) -> str:
    return " × ".join(map(str, image.shape))


def _norm(path: Path, number: int, line: str) -> tuple[str, float]:
    try:
        name, value = line.split()
        return name, float(value)
    except ValueError as error:
        raise UsageError(
            f"{path}, line {number}: '{line.strip()}' is no name and number. "
            "Give Proba-V's norm.csv."
        ) from error


def _enlarge(frame: Array) -> Array:
    down, across = (_interpolation(side) for side in frame.shape)
    return np.clip(down @ frame @ across.T, frame.min(), frame.max())


def _interpolation(side: int) -> Array:
    """(3·side, side): how much of every pixel makes up each of three times as many."""
    centres = (np.arange(FACTOR * side) + 0.5) / FACTOR - 0.5
    first = np.floor(centres).astype(int) - 1
    weights = np.zeros((len(centres), side))
    rows = np.arange(len(centres))
    for tap in range(4):
        at = first + tap
        np.add.at(weights, (rows, at.clip(0, side - 1)), _cubic(np.abs(centres - at)))
    return weights


def _cubic(x: Array) -> Array:
    """Keys' kernel at distances below 2."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, far)
