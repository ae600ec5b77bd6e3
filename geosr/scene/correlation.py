"""Where one image lies in another, told by phase correlation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_PASS = 0.25  # cycles a pixel: what is finer is aliased, and differs with the shift

Array = NDArray[np.float64]


def displacement(first: Array, other: Array) -> tuple[float, float, float]:
    """Where `other` lies in `first`: (down, across) in pixels, and how alike they are there.

    Phase correlation of the lower frequencies (Stone et al., IEEE TGRS 39, 2001), its peak found
    between pixels by the Fourier sum itself. The last number is the images' correlation where
    they overlap, moved by whole pixels.
    """
    cross = _spectrum(first) * np.conj(_spectrum(other))
    phase = cross / np.maximum(np.abs(cross), np.finfo(float).tiny)
    rows, cols = np.fft.fftfreq(first.shape[0])[:, None], np.fft.fftfreq(first.shape[1])[None]
    phase *= np.exp(-0.5 * ((rows**2 + cols**2) / (_PASS / 2) ** 2))
    peak = np.unravel_index(int(np.argmax(np.fft.ifft2(phase).real)), phase.shape)
    at = [float((p + n // 2) % n - n // 2) for p, n in zip(peak, phase.shape, strict=True)]
    for span in (1.0, 0.1, 0.01):
        steps = np.linspace(-span, span, 21)
        down = np.exp(2j * math.pi * (at[0] + steps)[:, None] * rows.T)
        across = np.exp(2j * math.pi * cols.T * (at[1] + steps)[None])
        near = (down @ phase @ across).real
        i, j = np.unravel_index(int(np.argmax(near)), near.shape)
        at = [at[0] + float(steps[i]), at[1] + float(steps[j])]
    return at[0], at[1], _alike(first, other, round(at[0]), round(at[1]))


def _spectrum(image: Array) -> NDArray[np.complex128]:
    taper = np.hanning(image.shape[0] + 2)[1:-1, None] * np.hanning(image.shape[1] + 2)[None, 1:-1]
    return np.fft.fft2((image - image.mean()) * taper)


def _alike(first: Array, other: Array, down: int, across: int) -> float:
    """Correlation of first[r + down, c + across] with other[r, c]."""
    height, width = first.shape
    if abs(down) >= height or abs(across) >= width:
        return 0.0
    a = first[max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)]
    b = other[max(-down, 0) : height - max(down, 0), max(-across, 0) : width - max(across, 0)]
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else 0.0
