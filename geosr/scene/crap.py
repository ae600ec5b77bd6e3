"""Crap: what may befall an image between the ground and a file, drawn at random.

After decrappify (Antic, Howard, Manor 2019), where a net learns to undo what was done on purpose.
In this order: haze that thickens towards one side, shot and read-out noise, stripes of columns or
rows, and the losses of JPEG (ITU-T T.81, table K.1, by the usual scale of qualities). Values in
units of 1.0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

WIDTHS = (0.2, 0.8)  # σ of the blur, coarse pixels
_HAZE = 0.15  # share of the light that is lost at most
_AIR = (0.3, 0.6)  # what is seen instead
_SHOT, _READ = 0.02, 0.01  # deviations of noise at 1.0 and at 0, at most
_STRIPES = 0.005
_QUALITIES = (40, 95)
_BLOCK = 8
_TABLE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip

Image = NDArray[np.float32]


def width(rng: np.random.Generator) -> float:
    """σ of a blur in coarse pixels."""
    return float(rng.uniform(*WIDTHS))


def spoil(image: Image, rng: np.random.Generator) -> Image:
    """An image (bands, rows, cols) with all of it."""
    hazy = haze(image, rng)
    noisy = hazy + _noise(hazy, rng)
    return jpeg(noisy + _stripes(noisy.shape, rng), int(rng.integers(*_QUALITIES)))


def haze(image: Image, rng: np.random.Generator) -> Image:
    """Light lost to bright air, more of it towards one side."""
    rows, cols = (np.linspace(-0.5, 0.5, n) for n in image.shape[1:])
    turn = rng.uniform(0, 2 * math.pi)
    slope = rows[:, None] * math.sin(turn) + cols * math.cos(turn)
    lost = rng.uniform(0, _HAZE) * (0.5 + slope / math.sqrt(2))
    return np.asarray(image * (1 - lost) + rng.uniform(*_AIR) * lost, np.float32)


def _noise(image: Image, rng: np.random.Generator) -> Image:
    shot, read = rng.uniform(0, _SHOT), rng.uniform(0, _READ)
    sigma = np.sqrt(read**2 + shot**2 * np.clip(image, 0, None))
    return np.asarray(sigma * rng.normal(size=image.shape), np.float32)


def _stripes(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    across = rng.random() < 0.5
    lines = rng.normal(0, rng.uniform(0, _STRIPES), (shape[0], shape[2] if across else shape[1]))
    return np.asarray(lines[:, None] if across else lines[:, :, None], np.float32)


def jpeg(image: Image, quality: int) -> Image:
    """The image after JPEG's rounding of 8 × 8 cosine transforms, 255 to 1.0."""
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    table = np.clip(np.round(_TABLE * scale), 1, None)
    rows, cols = image.shape[1:]
    wide = np.pad(image, ((0, 0), (0, -rows % _BLOCK), (0, -cols % _BLOCK)), "edge") * 255 - 128
    high, long = (n // _BLOCK for n in wide.shape[1:])
    blocks = wide.reshape(-1, high, _BLOCK, long, _BLOCK).transpose(0, 1, 3, 2, 4)
    basis = _cosines()
    lossy = np.round(basis @ blocks @ basis.T / table) * table
    back = (basis.T @ lossy @ basis).transpose(0, 1, 3, 2, 4).reshape(wide.shape)
    return np.asarray((back[:, :rows, :cols] + 128) / 255, np.float32)


def _cosines() -> NDArray[np.float64]:
    """The orthonormal cosine transform, (frequency, place)."""
    at = np.arange(_BLOCK)
    rows = np.cos(np.pi * (at + 0.5) * at[:, None] / _BLOCK) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    return np.asarray(rows)
