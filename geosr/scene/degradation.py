"""Ways of degrading an image beyond one filter: pools taken from real images, crap, psf and noise.

A way draws, for every image or window, what is done to it: a blur, which goes with the shrinking,
and what a sensor and a product do to the coarse image afterwards. A pool is a JSON file:

    {"format": "geosr degradation pool", "version": 1, "scale": 2,
     "kernels": [{"image": "a", "band": "1", "how": "spectrum", "sigma": [1.1, 0.9],
                  "taps": [[…], …]}, …],
     "noise": [{"image": "a", "band": "1", "sigma": 0.004, "patches": [[[…], …], …]}, …]}

Kernels are arrays of fine pixels, `scale` of which lie along a coarse one, centred on the coarse
pixel, of sum one. Noise is told in units of 1.0, as its deviation and as patches of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.scene import crap, degrade

FORMAT, VERSION = "geosr degradation pool", 1
CRAP = "crap"
SUFFIX = ".json"
_SUM = 1e-3  # by which a kernel's sum may differ from one
_PART = 1e-4  # of the first singular value, below which a part of a kernel does not count

Array = NDArray[np.float64]
Finish = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True)
class Blur:
    """A filter before sampling: taps along rows and columns; of several the results are summed."""

    parts: tuple[tuple[Array, Array], ...]

    @classmethod
    def of(cls, kernel: Array, factor: int) -> Blur:
        """The filter of a kernel (rows, cols), as a sum of separable ones.

        One row or column more where the factor is odd and the kernel is not, or the reverse.
        """
        odd = [(n - factor) % 2 for n in kernel.shape]
        kernel = np.pad(kernel, ((0, odd[0]), (0, odd[1])))
        left, sizes, right = np.linalg.svd(kernel)
        count = int((sizes > _PART * sizes[0]).sum())
        parts = tuple((left[:, i] * sizes[i], right[i]) for i in range(count))
        total = sum(down.sum() * across.sum() for down, across in parts)
        return cls(tuple((down / total, across) for down, across in parts))

    def beyond(self, factor: int) -> int:
        """Fine pixels that it needs beyond the block on every side."""
        return max(max(degrade.beyond(taps, factor), 0) for part in self.parts for taps in part)

    def __call__(self, values: NDArray[Any], factor: int, *, pad: int) -> NDArray[np.float32]:
        """Values (…, rows, cols), which carry `pad` extra pixels, `factor` times coarser."""
        made = [
            degrade.shrink(values, factor, down, across, pad=pad) for down, across in self.parts
        ]
        return np.asarray(sum(made[1:], made[0]))


@dataclass(frozen=True)
class Drawn:
    """What is done to one image: `finish` takes the coarse image in units of 1.0."""

    blur: Blur
    finish: Finish | None = None


class Way(Protocol):
    """Draws what is done to an image."""

    def draw(self, factor: int, rng: np.random.Generator) -> Drawn:
        """For a factor; further numbers are drawn when it is finished.

        Raises:
            UsageError: it is not made for that factor.
        """
        ...


@dataclass(frozen=True)
class Named:
    """One of `degrade.OPERATORS`."""

    name: str

    def draw(self, factor: int, rng: np.random.Generator) -> Drawn:
        """ "blur-noise" draws its blur and its noise, the others are always the same."""
        taps = degrade.taps(self.name, factor, rng)
        finish = _white if self.name == "blur-noise" else None
        return Drawn(Blur(((taps, taps),)), finish)


def _white(low: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return low + degrade.noise(rng, low.shape)


@dataclass(frozen=True)
class Crap:
    """Blur, haze, noise, stripes and JPEG, as `geosr.scene.crap` draws them."""

    def draw(self, factor: int, rng: np.random.Generator) -> Drawn:
        """A blur of its own for every image."""
        taps = degrade.point_spread(factor, crap.width(rng) * factor)
        return Drawn(Blur(((taps, taps),)), crap.spoil)


@dataclass(frozen=True)
class PsfAndNoise:
    """A Gaussian of `psf` coarse pixels (σ), no block mean, and white noise of `noise` (σ)."""

    psf: float
    noise: float = 0.0

    def draw(self, factor: int, rng: np.random.Generator) -> Drawn:
        """Always the same blur; 0 is every `factor`-th pixel, or the mean of the middle ones."""
        taps = degrade.point_spread(factor, max(self.psf * factor, 1e-3))
        return Drawn(Blur(((taps, taps),)), self._noisy if self.noise else None)

    def _noisy(self, low: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        return low + rng.normal(0, self.noise, low.shape).astype(np.float32)


# pools


@dataclass(frozen=True)
class Kernel:
    """A blur that an image was found to have.

    Attributes:
        how: "finer bands", "spectrum" or "spectrum of fine images".
        sigma: of the Gaussian, the larger first, in fine pixels.
        taps: (rows, cols) of fine pixels.
    """

    image: str
    band: str
    how: str
    sigma: tuple[float, float]
    taps: Array


@dataclass(frozen=True)
class Noise:
    """What flat parts of an image hold: deviation, and patches (n, side, side), units of 1.0."""

    image: str
    band: str
    sigma: float
    patches: NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """Kernels and noise of real images; each image degraded gets one of either by chance."""

    scale: int
    kernels: tuple[Kernel, ...]
    noise: tuple[Noise, ...] = field(default=())

    def draw(self, factor: int, rng: np.random.Generator) -> Drawn:
        """One kernel, and the noise of another image or the same."""
        if factor != self.scale:
            raise UsageError(
                f"the degradation pool holds kernels for scale {self.scale}, not {factor}. "
                f"Make one: geosr data degradation DIR --scale {factor}."
            )
        taps = self.kernels[int(rng.integers(len(self.kernels)))].taps
        if not self.noise:
            return Drawn(Blur.of(taps, factor))
        noise = self.noise[int(rng.integers(len(self.noise)))]
        return Drawn(Blur.of(taps, factor), _Patched(noise))

    def to_json(self) -> str:
        """The text of its file."""
        kernels = [{"image": k.image, "band": k.band, "how": k.how, "sigma": list(k.sigma),
                    "taps": _plain(k.taps, 7)} for k in self.kernels]  # fmt: skip
        noise = [{"image": n.image, "band": n.band, "sigma": n.sigma,
                  "patches": _plain(n.patches, 6)} for n in self.noise]  # fmt: skip
        return json.dumps({"format": FORMAT, "version": VERSION, "scale": self.scale,
                           "kernels": kernels, "noise": noise})  # fmt: skip


def _plain(array: NDArray[Any], digits: int) -> Any:
    return np.round(array.astype(np.float64), digits).tolist()


@dataclass(frozen=True)
class _Patched:
    """Adds patches of noise, turned and put side by side at random."""

    noise: Noise

    def __call__(self, low: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        side = self.noise.patches.shape[-1]
        field = np.empty(low.shape, np.float32)
        for band in field:
            rows, cols = (-(-n // side) for n in band.shape)
            chosen = self.noise.patches[rng.integers(len(self.noise.patches), size=rows * cols)]
            flips = rng.integers(2, size=(rows * cols, 2)).astype(bool)
            chosen = np.where(flips[:, :1, None], chosen[:, ::-1], chosen)
            chosen = np.where(flips[:, 1:, None], chosen[:, :, ::-1], chosen)
            wide = chosen.reshape(rows, cols, side, side).transpose(0, 2, 1, 3)
            band[:] = wide.reshape(rows * side, cols * side)[: band.shape[0], : band.shape[1]]
        return low + field


def read_pool(path: Path) -> Pool:
    """The pool in a file.

    Raises:
        UsageError: not readable, another format or version, no kernels, or one whose sum is not 1.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: not a readable degradation pool ({error}). Make one: geosr data degradation."
        ) from error
    found = data if isinstance(data, dict) else {}
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise UsageError(
            f"{path}: no '{FORMAT}' of version {VERSION} (format {found.get('format')!r}, version "
            f"{found.get('version')!r}). Make it again: geosr data degradation."
        )
    try:
        kernels = tuple(_kernel(path, entry) for entry in found["kernels"])
        noise = tuple(_noise(entry) for entry in found["noise"])
        scale = int(found["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: a damaged degradation pool ({error}). Make it again: geosr data degradation."
        ) from error
    if not kernels:
        raise UsageError(f"{path}: a degradation pool without kernels. Make it of other images.")
    return Pool(scale, kernels, noise)


def _kernel(path: Path, entry: Mapping[str, Any]) -> Kernel:
    taps = np.array(entry["taps"], np.float64)
    if taps.ndim != 2 or not np.isfinite(taps).all():
        raise ValueError(f"the kernel of {entry['image']} is no array of numbers")
    if abs(taps.sum() - 1) > _SUM:
        raise UsageError(
            f"{path}: the kernel of {entry['image']} band {entry['band']} has the sum "
            f"{taps.sum():.4f}, not 1: it would brighten. Make it again: geosr data degradation."
        )
    large, small = entry["sigma"]
    return Kernel(str(entry["image"]), str(entry["band"]), str(entry["how"]),
                  (float(large), float(small)), taps / taps.sum())  # fmt: skip


def _noise(entry: Mapping[str, Any]) -> Noise:
    patches = np.array(entry["patches"], np.float32)
    if (
        patches.ndim != 3
        or not patches.size
        or patches.shape[1] != patches.shape[2]
        or not np.isfinite(patches).all()
    ):
        raise ValueError(f"the noise of {entry['image']} is no patches of numbers")
    return Noise(str(entry["image"]), str(entry["band"]), float(entry["sigma"]), patches)


def gaussian(factor: int, covariance: Array, *, reach: int | None = None) -> Array:
    """A Gaussian's taps (rows, cols), centred on the coarse pixel, sum one.

    Args:
        covariance: (2, 2), rows then columns, fine pixels squared.
        reach: fine pixels beyond the coarse one; None is what the Gaussian needs.
    """
    if reach is None:
        reach = math.ceil(4 * math.sqrt(max(covariance[0, 0], covariance[1, 1]))) + 1
    at = np.arange(-reach, factor + reach) - (factor - 1) / 2
    down, across = np.meshgrid(at, at, indexing="ij")
    inverse = np.linalg.inv(covariance)
    form = inverse[0, 0] * down**2 + 2 * inverse[0, 1] * down * across + inverse[1, 1] * across**2
    taps = np.exp(-0.5 * (form - form.min()))
    return np.asarray(taps / taps.sum())


def covariance(taps: Array) -> Array:
    """Second moments (2, 2) of a kernel about its middle, rows then columns, pixels squared."""
    rows, cols = (np.arange(n) - (n - 1) / 2 for n in taps.shape)
    both = float(rows @ taps @ cols)
    return np.array([[rows**2 @ taps.sum(1), both], [both, cols**2 @ taps.sum(0)]])


def way_of(text: str) -> Way:
    """The way that a name or a pool's file stands for.

    Raises:
        UsageError: neither; or the file is refused.
    """
    if text == CRAP:
        return Crap()
    if text in degrade.OPERATORS:
        return Named(text)
    if text.lower().endswith(SUFFIX):
        return read_pool(Path(text))
    known = ", ".join([*degrade.OPERATORS, CRAP])
    raise UsageError(f"no degradation '{text}' (known: {known}, or a pool's file, *{SUFFIX}).")
