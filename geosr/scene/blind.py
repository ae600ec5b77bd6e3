"""How blurred and how noisy an image is, told from the image alone.

Ground is taken to have a power spectrum that falls as f^-2.2 (of 2.0 to 2.3 the exponent by which
blurs put upon Landsat-7's panchromatic images were found best); a Gaussian of covariance Σ takes
exp(-4π² fᵀΣf) of it, and white noise adds a floor. The three are fitted to the spectrum by
Whittle's likelihood. Fine images of like ground, where there are any, tell their own spectrum
instead of that power: what they lost themselves is then in it, and drops out.

The floor is begun with what flat parts show, and loosely held to it: the 2 % quantile of the
deviations of 8 × 8 squares of the Laplacian of four neighbours, which few edges reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 64  # pixels along a part whose spectrum is taken
SIDE = 1024  # pixels of an image that are looked at, at most
_POWER = 2.2
_LOW, _HIGH = 0.05, 0.42  # cycles a pixel that the fit looks at; by length, and by either axis
_SQUARE = 8
_QUANTILE = 0.02
_WHITE = 0.781  # that quantile of white noise of deviation one
_LAPLACIAN = math.sqrt(20)  # deviation of its Laplacian
_SURE = 0.1  # how firmly the floor is held to what flat parts show
_STEPS = 100
PATCH = 16  # pixels along a patch of noise
_PATCHES = 6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A Gaussian point spread in pixels, and the white noise beneath it.

    Attributes:
        covariance: (2, 2), rows then columns.
        noise: deviation, in the image's unit.
    """

    covariance: Array
    noise: float

    @property
    def sigma(self) -> tuple[float, float]:
        """Of its axes, the larger first; 0 where the image is sharper than any blur leaves it."""
        small, large = np.sqrt(np.clip(np.linalg.eigvalsh(self.covariance), 0, None))
        return float(large), float(small)


def spectrum(image: Array, side: int = WINDOW) -> Array:
    """Mean power (side, side) of half overlapping squares under a Hann window; numpy's order.

    Raises:
        ValueError: the image is smaller than a square.
    """
    if min(image.shape) < side:
        raise ValueError(f"an image of {image.shape[0]} × {image.shape[1]} px, {side} are needed")
    hann = np.outer(*[np.hanning(side + 2)[1:-1]] * 2)
    hann /= math.sqrt(float((hann**2).mean()))
    total, count = np.zeros((side, side)), 0
    for row in range(0, image.shape[0] - side + 1, side // 2):
        for col in range(0, image.shape[1] - side + 1, side // 2):
            part = image[row : row + side, col : col + side]
            power = np.abs(np.fft.fft2((part - part.mean()) * hann)) ** 2 / side**2
            total, count = total + power, count + 1
    return np.asarray(total / count)


def spread(power: Array, noise: float, *, fine: Array | None = None) -> Spread | None:
    """The point spread that a spectrum shows; None where the fit does not come to rest.

    Args:
        noise: deviation that flat parts show.
        fine: spectrum of fine images at the same frequencies on the ground.
    """
    at = np.fft.fftfreq(len(power))
    down, across = np.meshgrid(at, at, indexing="ij")
    length = np.hypot(down, across)
    used = (length > _LOW) & (np.maximum(np.abs(down), np.abs(across)) < _HIGH)
    y, u, v = power[used], down[used], across[used]
    ground = np.log(fine[used]) if fine is not None else -_POWER * np.log(length[used])
    turns = -4 * math.pi**2 * np.stack([u**2, v**2, 2 * u * v], 1)
    found = _fitted(y, ground, turns, max(noise, 1e-6) ** 2)
    if found is None:
        return None
    rows, cols, both, least = found
    return Spread(np.array([[rows, both], [both, cols]]), math.exp(least / 2))


def _fitted(y: Array, ground: Array, turns: Array, floor: float) -> Array | None:
    """Covariance (rows, cols, both) and log floor, by scoring of gamma distributed powers."""
    x = np.concatenate([np.ones((len(y), 1)), turns], 1)
    level = math.log(float(np.median(y / np.exp(ground)))) + 1
    state, hold = np.array([level, 0.25, 0.25, 0.0, math.log(floor)]), _SURE
    for _ in range(_STEPS):
        signal = np.exp(np.clip(x @ state[:4] + ground, -60, 60))
        model = signal + math.exp(state[4])
        slope = np.concatenate([x * signal[:, None], np.full((len(y), 1), math.exp(state[4]))], 1)
        weighted = slope / model[:, None] ** 2
        gain = weighted.T @ (y - model)
        bend = weighted.T @ slope
        gain[4] -= hold * (state[4] - math.log(floor))
        bend[4, 4] += hold
        step = np.linalg.solve(bend + 1e-9 * np.trace(bend) * np.eye(5), gain)
        state = state + np.clip(step, -0.3, 0.3)
        if np.abs(step).max() < 1e-5:
            return state[1:]
    return None


def noise(image: Array) -> float:
    """Deviation of white noise that flat parts of an image show, in its own unit."""
    deviations = _deviations(image, _SQUARE)
    return float(np.quantile(deviations, _QUANTILE)) / _WHITE / _LAPLACIAN


def patches(image: Array, sigma: float) -> NDArray[np.float32]:
    """The flattest parts of an image without their planes, (n, side, side), of deviation `sigma`.

    Those with a slope or an edge in them are no flatter than others; there are fewer than asked in
    a small image.
    """
    deviations = _deviations(image, PATCH)
    cols = (image.shape[1] - 2) // PATCH
    chosen = np.argsort(deviations)[:_PATCHES]
    at = np.arange(PATCH) - (PATCH - 1) / 2
    found = []
    for number in chosen:
        row, col = (int(n) * PATCH + 1 for n in divmod(int(number), cols))
        part = image[row : row + PATCH, col : col + PATCH]
        slopes = (part @ at / (at @ at)).mean(), (part.T @ at / (at @ at)).mean()
        found.append(part - part.mean() - slopes[0] * at - slopes[1] * at[:, None])
    stack = np.stack(found)
    deviation = float(stack.std())
    return np.asarray(stack * (sigma / deviation if deviation else 0), np.float32)


def _deviations(image: Array, side: int) -> Array:
    """Deviations of the Laplacian in squares, row by row; what is left over is dropped."""
    inner = image[1:-1, 1:-1]
    around = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    rows, cols = (n // side for n in inner.shape)
    whole = (4 * inner - around)[: rows * side, : cols * side]
    split = whole.reshape(rows, side, cols, side).transpose(0, 2, 1, 3)
    return np.asarray(split.reshape(rows * cols, -1).std(1))


def mean_spectrum(images: Sequence[Array], factor: int) -> Array:
    """Of fine images, at the frequencies that a `factor` times coarser image has."""
    total = np.mean([spectrum(image, WINDOW * factor) for image in images], 0)
    at = np.fft.fftfreq(WINDOW, 1 / WINDOW).astype(int)
    return np.asarray(total[np.ix_(at, at)])
