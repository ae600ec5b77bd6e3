"""How blurred and how noisy an image is, told from the image alone.

Ground is taken to have a power spectrum that falls as f^-2.2 (of 2.0 to 2.3 the exponent by which
blurs put upon Landsat-7's panchromatic images were found best); a Gaussian of covariance Σ takes
exp(-4π² fᵀΣf) of it, sampling folds what is left beyond the image's own frequencies back among
them, and white noise adds a floor. All are fitted to the spectrum by Whittle's likelihood, of
flat parts of the image, rough ones and those between: they share the blur and the noise, and where
there is little ground the noise shows. Fine images of like ground, where there are any, tell their
own spectrum instead of that power: what they lost themselves is then in it, and drops out.

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
_GROUPS = 3  # of squares, from flat to rough
_FOLDS = 3  # frequencies along either side that sampling brings together, of ground in general
_LOW = 0.05  # cycles a pixel below which the fit does not look
_SQUARE = 8
_QUANTILE = 0.02
_WHITE = 0.781  # that quantile of white noise of deviation one
_LAPLACIAN = math.sqrt(20)  # deviation of its Laplacian
_SURE = 0.01  # how firmly the floor is held to what flat parts show
_STEPS, _STILL = 400, 1e-5
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
    """Mean power of half overlapping squares under a Hann window, from flat to rough ones.

    Returns:
        (groups, side, side) in numpy's order of frequencies: each the mean of as many squares, the
        first those that vary least.

    Raises:
        ValueError: the image is smaller than a square.
    """
    if min(image.shape) < side:
        raise ValueError(f"an image of {image.shape[0]} × {image.shape[1]} px, {side} are needed")
    hann = np.outer(*[np.hanning(side + 2)[1:-1]] * 2)
    hann /= math.sqrt(float((hann**2).mean()))
    parts = [
        (part - part.mean()) * hann
        for row in range(0, image.shape[0] - side + 1, side // 2)
        for col in range(0, image.shape[1] - side + 1, side // 2)
        for part in [image[row : row + side, col : col + side]]
    ]
    parts.sort(key=np.var)
    order = np.array_split(np.arange(len(parts)), min(_GROUPS, len(parts)))
    groups = [[np.abs(np.fft.fft2(parts[i])) ** 2 for i in each] for each in order]
    return np.stack([np.mean(powers, 0) / side**2 for powers in groups])


def spread(power: Array, noise: float, *, fine: Array | None = None) -> Spread | None:
    """The point spread that a spectrum shows; None where the fit does not come to rest.

    Args:
        power: as `spectrum` gives it.
        noise: deviation that flat parts show.
        fine: spectrum of fine images, whose squares show as much ground: of a whole number of times
            as many frequencies along either side.
    """
    side = power.shape[-1]
    factor = _FOLDS if fine is None else len(fine) // side
    at = np.fft.fftfreq(side * factor, 1 / factor)
    down, across = np.meshgrid(at, at, indexing="ij")
    length = np.hypot(down, across)
    if fine is None:
        length[0, 0] = 1  # of no account: frequency 0 is not used
        fine = length**-_POWER
    own = np.fft.fftfreq(side)
    used = np.hypot(own[:, None], own) > _LOW
    used[side // 2 + 1 :] = False  # the powers there are those of the other half
    u, v, ground = (_folded(each, side)[used] for each in (down, across, np.log(fine)))
    turns = -4 * math.pi**2 * np.stack([u**2, v**2, 2 * u * v], -1)
    found = _Fit(power[:, used], ground, turns, 2 * math.log(max(noise, 1e-6))).best()
    if found is None:
        return None
    rows, cols, both, floor = found
    return Spread(np.array([[rows, both], [both, cols]]), math.exp(floor / 2))


def _folded(fine: Array, side: int) -> Array:
    """(side, side, n): the values by frequency that sampling brings together."""
    factor = len(fine) // side
    parts = fine.reshape(factor, side, factor, side).transpose(1, 3, 0, 2)
    return parts.reshape(side, side, factor**2)


@dataclass(frozen=True)
class _Fit:
    """Levels of ground, a covariance and a floor, for gamma distributed powers.

    A state is the log level of each group, then (rows, cols, both) of the covariance, then the log
    floor.

    Attributes:
        power: (groups, n).
        ground: (n, folds), log of what there was before the point spread, at level one.
        turns: (n, folds, 3), derivatives of its log by the covariance.
        held: log floor that the state's is held to.
    """

    power: Array
    ground: Array
    turns: Array
    held: float

    def best(self) -> Array | None:
        """The state that fits best, without levels, by damped scoring; None where none does."""
        groups, damping = len(self.power), 1.0
        levels = np.log(np.median(self.power / np.exp(self.ground).sum(1), 1)) + 1
        state = np.concatenate([levels, [0.25, 0.25, 0.0, self.held]])
        unfit = self._unfit(state)
        for _ in range(_STEPS):
            gain, bend = self._scores(state)
            step = np.linalg.solve(bend + damping * np.diag(np.diag(bend)), gain)
            tried = self._unfit(state + step)
            if tried < unfit:
                state, unfit, damping = state + step, tried, damping / 4
            else:
                damping *= 8
            if np.abs(step).max() < _STILL:
                return np.asarray(state[groups:])
        return None

    def _parts(self, state: Array) -> tuple[Array, Array]:
        """Ground after the point spread: its folds at level one (n, folds), each group's sum."""
        groups = len(self.power)
        folds = np.exp(np.clip(self.turns @ state[groups:-1] + self.ground, -60, 60))
        return folds, np.exp(np.clip(state[:groups, None], -60, 60)) * folds.sum(1)

    def _unfit(self, state: Array) -> float:
        """The negative log likelihood, and how far the floor is from where it is held."""
        model = self._parts(state)[1] + math.exp(min(state[-1], 60))
        unfit = float((np.log(model) + self.power / model).sum())
        return unfit + _SURE * (state[-1] - self.held) ** 2 / 2

    def _scores(self, state: Array) -> tuple[Array, Array]:
        """The gradient towards a better fit, and Fisher's information."""
        groups, floor = len(self.power), math.exp(state[-1])
        folds, signal = self._parts(state)
        turned = np.einsum("nk,nkj->nj", folds, self.turns) / folds.sum(1)[:, None]
        slope = np.zeros((*signal.shape, len(state)))
        slope[range(groups), :, range(groups)] = signal
        slope[..., groups:-1] = signal[..., None] * turned
        slope[..., -1] = floor
        model = signal + floor
        weighted = slope / model[..., None] ** 2
        gain = np.einsum("gnj,gn->j", weighted, self.power - model)
        bend = np.einsum("gni,gnj->ij", weighted, slope)
        gain[-1] -= _SURE * (state[-1] - self.held)
        bend[-1, -1] += _SURE
        return gain, bend


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
    """Of fine images, in squares of as much ground as those of `factor` times coarser ones."""
    return np.asarray(np.mean([spectrum(image, WINDOW * factor).mean(0) for image in images], 0))
