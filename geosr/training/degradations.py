"""A pool of degradations, found in a folder of real images: what blurs them, and their noise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.raster.window import Window
from geosr.scene import blind, estimation
from geosr.scene.degradation import Kernel, Noise, Pool, covariance, gaussian
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene

log = logging.getLogger("geosr")
_LEAST = 0.3  # fine pixels: σ that a kernel has at least, or its samples would not sum to it
_FINER, _ALONE, _LIKE = "finer bands", "spectrum", "spectrum of fine images"

Array = NDArray[np.float64]


def collect(
    data: Path, scale: int, *, like: Path | None = None, pattern: str | None = None,
    options: OpenOptions = OpenOptions(),  # noqa: B008 - frozen
    progress: Callable[[str], None] = lambda _: None,
) -> Pool:  # fmt: skip
    """The pool of a folder of scenes or images, for images `scale` times finer.

    Coarse bands of Sentinel-2 scenes are compared with the finer ones beside them
    (`geosr.scene.estimation`); of other images the spectrum tells (`geosr.scene.blind`).

    Args:
        like: fine images of like ground, `scale` times finer than those of `data`, whose spectrum
            is compared with; None takes that of ground in general.
        progress: called with the name of every image.

    Raises:
        UsageError: no such folder, or nothing there tells a kernel.
    """
    kernels: list[Kernel] = []
    noise: list[Noise] = []
    reasons: list[str] = []
    fine = _spectrum_of(like, scale, options) if like else None
    for scene in _scenes(data, pattern, options, reasons):
        progress(scene.name)
        found = _by_bands(scene, scale) if len(scene.grids) > 1 else None
        for name, image in _images(scene, reasons):
            sigma = blind.noise(image)
            spread = None if found else blind.spread(blind.spectrum(image), sigma, fine=fine)
            if spread is not None:
                sigma = spread.noise
            noise.append(Noise(scene.name, name, sigma, blind.patches(image, sigma)))
            kernels += _by_spectrum(scene, name, spread, scale, fine) if found is None else []
        kernels += found or []
    if not kernels:
        raise UsageError(
            f"{data}: nothing tells a blur ({reasons[0] if reasons else 'no image there'}). "
            f"Give images of {blind.WINDOW} × {blind.WINDOW} pixels or more."
        )
    return Pool(scale, tuple(kernels), tuple(noise))


def _scenes(
    data: Path, pattern: str | None, options: OpenOptions, reasons: list[str]
) -> Iterator[Scene]:
    """Sentinel-2 scenes of a folder with coarse bands, or where there are none its images."""
    found = 0
    for path in find_scenes(data, pattern=pattern):
        try:
            scene = open_scene(path, options)
        except GeosrError:
            continue
        if len(scene.grids) > 1:
            found += 1
            yield scene
    if found:
        return
    images = OpenOptions(kind="image", quantification=options.quantification)
    for path in find_scenes(data, pattern=pattern, kind="image"):
        try:
            yield open_scene(path, images)
        except GeosrError as error:
            reasons.append(str(error))


def _images(scene: Scene, reasons: list[str]) -> Iterator[tuple[str, Array]]:
    """The middle of every band of the coarsest grid but one of 60 m, units of 1.0, all sensed."""
    gsds = sorted(scene.grids)
    gsd = gsds[min(1, len(gsds) - 1)]
    for band in scene.select(gsd=gsd):
        with scene.open() as reader:
            height, width = (min(n, blind.SIDE) for n in scene.grids[gsd].shape)
            rows, cols = scene.grids[gsd].shape
            window = Window((rows - height) // 2, (cols - width) // 2, height, width)
            try:
                pixels = reader.read([band.name], gsd, window)
            except GeosrError as error:
                reasons.append(str(error))
                continue
        if not pixels.usable.all():
            reasons.append(f"{scene.path}, band {band.name}: parts of it were not sensed")
        elif min(height, width) < blind.WINDOW:
            reasons.append(f"{scene.path} has {height} × {width} px")
        else:
            values = reflectance(scene, [band.name], pixels.values.astype(np.float32))
            yield band.name, values[0].astype(np.float64) / 10000


def _by_bands(scene: Scene, scale: int) -> list[Kernel]:
    """Kernels of the coarse bands, by the finer ones beside them."""
    kernels = []
    with scene.open() as reader:
        for gsd in sorted(set(scene.grids) - {scene.finest}):
            try:
                found = estimation.estimate(scene, reader, gsd)
            except GeosrError as error:
                log.warning("%s: %s", scene.path, error)
                continue
            for name, part in found.items():
                if part.sigma is None:
                    log.info("%s, %s: %s", scene.path, name, part.reason)
                    continue
                square = (part.sigma * scale / gsd) ** 2 * np.eye(2)
                kernels.append(_kernel(scene, name, _FINER, square, scale))
    return kernels


def _by_spectrum(
    scene: Scene, name: str, found: blind.Spread | None, scale: int, fine: Array | None
) -> list[Kernel]:
    """The kernel of one image, by its spectrum; none where that tells nothing."""
    if found is None or not found.sigma[0]:
        log.warning("%s, band %s: its spectrum shows no blur, left out", scene.path, name)
        return []
    how = _ALONE if fine is None else _LIKE
    return [_kernel(scene, name, how, found.covariance * scale**2, scale)]


def _kernel(scene: Scene, name: str, how: str, covariance: Array, scale: int) -> Kernel:
    """With axes of `_LEAST` at least."""
    squares, axes = np.linalg.eigh(covariance)
    squares = np.maximum(squares, _LEAST**2)
    sigma = float(np.sqrt(squares[1])), float(np.sqrt(squares[0]))
    taps = gaussian(scale, axes @ np.diag(squares) @ axes.T)
    return Kernel(scene.name, name, how, sigma, taps)


def _spectrum_of(like: Path, scale: int, options: OpenOptions) -> Array:
    """The mean spectrum of a folder of fine images.

    Raises:
        UsageError: none is large enough.
    """
    reasons: list[str] = []
    scenes = _scenes(like, None, options, reasons)
    images = [image / image.std() for scene in scenes for _, image in _images(scene, reasons)
              if min(image.shape) >= blind.WINDOW * scale and image.std()]  # fmt: skip
    if not images:
        raise UsageError(
            f"{like}: no image of {blind.WINDOW * scale} × {blind.WINDOW * scale} pixels to "
            f"compare with{f' ({reasons[0]})' if reasons else ''}. Give larger ones, or leave "
            "--like out."
        )
    return blind.mean_spectrum(images, scale)


def described(pool: Pool) -> dict[str, Any]:
    """What a pool holds, in short: its middle, its range, and how the kernels were found.

    `sigma` are those of the Gaussian with the median covariance, the larger first.
    """
    sigmas = np.array([kernel.sigma for kernel in pool.kernels])
    middle = np.median([covariance(kernel.taps) for kernel in pool.kernels], 0)
    axes = np.sqrt(np.clip(np.linalg.eigvalsh(middle), 0, None))[::-1]
    noise = [each.sigma for each in pool.noise]
    hows = sorted({kernel.how for kernel in pool.kernels})
    return {
        "scale": pool.scale,
        "kernels": len(pool.kernels),
        "how": hows,
        "sigma": [float(n) for n in axes],
        "sigma_range": [float(sigmas.min()), float(sigmas.max())],
        "noise": float(np.median(noise)) if noise else None,
        "noise_range": [min(noise), max(noise)] if noise else None,
    }
