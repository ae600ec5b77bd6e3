"""How good an image is that has no truth: against what it was made from, and opensr-test.

Arrays are (bands, rows, cols), sr `factor` times finer than lr; a mask is True where valid, of
lr's bands or of one for all. Sources: Wald 1997 (consistency), Scarpa and Ciotola 2022 (D_λ and
D_ρ), Alparone et al. 2008 (QNR), Aybar et al. 2024 (opensr-test).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.metrics.full_reference import Scores
from geosr.metrics.uiq import UIQ_WINDOW, box
from geosr.metrics.windows import unmasked

BORDER = 16  # pixels of sr that opensr-test leaves out on every side
MOST = 5  # pixels by which it aligns at most
SIDE = 1024  # pixels of sr along the part of a scene that opensr-test is shown
WITHOUT_TRUTH = ("reflectance", "spectral", "spatial", "synthesis")
WITH_TRUTH = ("improvement", "omission", "hallucination")
_FINER = 20  # parts of a pixel that a shift is told to

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Figure = float | None
Down = Callable[[NDArray[Any]], NDArray[Any]]


def consistency(
    sr: NDArray[Any],
    lr: NDArray[Any],
    factor: int,
    down: Down,
    *,
    mask: NDArray[Any] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Figure]:
    """What `down` makes of sr against lr: "rmse", its mean, "rmse_BAND" each, "sam" in degrees.

    Args:
        down: degrades (bands, H, W) to (bands, h, w).
        mask: in lr's pixels.
        names: of the bands; their numbers from 1 without.

    Raises:
        UsageError: sr is not lr's size times `factor`, or `down` gives another than lr's.
    """
    scores = _degraded(sr, lr, factor, down, mask, names)
    by_band = {f"rmse_{name}": value for name, value in scores.rmse.items()}
    return {"rmse": scores.whole()["rmse"], **by_band, "sam": scores.sam}


def d_lambda(
    sr: NDArray[Any],
    lr: NDArray[Any],
    factor: int,
    down: Down,
    *,
    mask: NDArray[Any] | None = None,
) -> Figure:
    """Spectral distortion: 1 − Q2n of what `down` makes of sr against lr, blocks of 32 × 32.

    0 is best; None where no block of lr is wholly valid.

    Raises:
        UsageError: as `consistency`.
    """
    quality = _degraded(sr, lr, factor, down, mask, None, extra=True).whole()["q2n"]
    return None if quality is None else 1 - quality


def d_rho(
    sr: NDArray[Any], guide: NDArray[Any], *, mask: NDArray[Any] | None = None
) -> dict[str, Figure]:
    """Spatial distortion: 1 − the mean local correlation with the guide, over 8 × 8 windows.

    Windows slide by one pixel; those that are flat in either image, or hold a masked pixel, are
    left out. With several guides each band takes the one it correlates with best.

    Args:
        guide: (guides, H, W), of sr's rows and columns.
        mask: in sr's pixels.

    Returns:
        "d_rho", the mean over bands, and "d_rho_1" and on by band; 0 is best, 2 the worst.

    Raises:
        UsageError: other rows or columns than sr's, or no guide.
    """
    if not len(guide) or sr.shape[1:] != guide.shape[1:]:
        raise UsageError(
            f"D_rho: image of {sr.shape} and guide of {guide.shape}. Give a guide of its size."
        )
    valid = _valid(mask, sr)
    values = [_distance(band, guide, seen) for band, seen in zip(sr, valid, strict=True)]
    known = [value for value in values if value is not None]
    by_band = {f"d_rho_{i}": value for i, value in enumerate(values, 1)}
    return {"d_rho": sum(known) / len(known) if known else None, **by_band}


def qnr(
    sr: NDArray[Any],
    lr: NDArray[Any],
    guide: NDArray[Any],
    factor: int,
    down: Down,
    *,
    mask: NDArray[Any] | None = None,
) -> dict[str, Figure]:
    """Quality without reference: "qnr" is (1 − D_λ)·(1 − D_ρ), with "d_lambda" and "d_rho".

    1 is best; a negative correlation counts as none. None where either is.

    Args:
        mask: in lr's pixels.

    Raises:
        UsageError: as `consistency` and `d_rho`.
    """
    fine = None if mask is None else mask.repeat(factor, -2).repeat(factor, -1)
    spectral = d_lambda(sr, lr, factor, down, mask=mask)
    spatial = d_rho(sr, guide, mask=fine)["d_rho"]
    if spectral is None or spatial is None:
        quality = None
    else:
        quality = (1 - spectral) * max(1 - spatial, 0.0)
    return {"qnr": quality, "d_lambda": spectral, "d_rho": spatial}


def opensr(
    lr: NDArray[Any], sr: NDArray[Any], hr: NDArray[Any] | None = None, scale: int = 4
) -> dict[str, Figure]:
    """The figures of opensr-test, reflectance in 0 to 1; nothing may be NaN.

    sr and hr lose 16 px on every side and lr as much ground. lr↑ and sr↓ are bilinear, the latter
    with anti-aliasing. Where hr is given, sr's bands get hr's histogram and sr is moved by whole
    pixels, up to 5, to where phase correlation finds hr: srharm, else sr itself.

    Returns:
        "reflectance", mean |lr − sr↓|; "spectral", mean angle in degrees; "spatial", shift of sr↓
        in pixels of lr to 1/20; "synthesis", mean |lr↑ − srharm|. With hr "improvement",
        "omission" and "hallucination", which sum to 1: each pixel's normalised differences |a −
        b| / (|a| + |b|), mean over bands, of srharm to hr and to lr↑ relative to that of lr↑ to
        hr, where one of the three exceeds the last's 75th percentile. None: no angle for dark
        pixels only, no shift of flat images, no pixel above.

    Raises:
        UsageError: sizes do not fit, NaN, or nothing is left inside the border.
    """
    _check(lr, sr, hr, scale)
    low, high = (np.asarray(image, np.float64) for image in (lr, sr))
    up, down = _resize(low, high.shape[1:]), _resize(high, low.shape[1:])
    truth = None if hr is None else np.asarray(hr, np.float64)
    matched = high if truth is None else _harmonised(high, truth)
    margin = -(-BORDER // scale)
    found = _agreement(_inside(low, margin), _inside(down, margin))
    up, matched = _inside(up, BORDER), _inside(matched, BORDER)
    found["synthesis"] = float(np.abs(up - matched).mean())
    return found if truth is None else found | _correctness(up, matched, _inside(truth, BORDER))


def opensr_or_none(
    lr: NDArray[Any], sr: NDArray[Any], hr: NDArray[Any] | None, *, scale: int, valid: bool
) -> dict[str, Figure]:
    """The figures of `opensr` as "opensr_…" from counts of 10000; None where it cannot tell any.

    Args:
        valid: whether every pixel was sensed.
    """
    names = WITHOUT_TRUTH if hr is None else (*WITHOUT_TRUTH, *WITH_TRUTH)
    found: dict[str, Figure] = dict.fromkeys(names)
    if valid and min(sr.shape[1:]) > 2 * scale * -(-BORDER // scale):
        found = opensr(lr / 1e4, sr / 1e4, None if hr is None else hr / 1e4, scale)
    return {f"opensr_{name}": value for name, value in found.items()}


def _degraded(
    sr: NDArray[Any],
    lr: NDArray[Any],
    factor: int,
    down: Down,
    mask: NDArray[Any] | None,
    names: Sequence[str] | None,
    *,
    extra: bool = False,
) -> Scores:
    bands, rows, cols = lr.shape
    if sr.shape != (bands, rows * factor, cols * factor):
        raise UsageError(
            f"consistency: image of {sr.shape} and input of {lr.shape} at factor {factor}. "
            f"Give an image of {(bands, rows * factor, cols * factor)}."
        )
    coarse = down(sr)
    if coarse.shape != lr.shape:
        raise UsageError(
            f"consistency: degrading gave {coarse.shape}, the input is {lr.shape}. "
            "Give an operator that pads by itself."
        )
    scores = Scores(names or [str(i) for i in range(1, bands + 1)], factor=factor, extra=extra)
    scores.add(lr, coarse, _valid(mask, lr))
    return scores


def _valid(mask: NDArray[Any] | None, like: NDArray[Any]) -> Mask:
    if mask is None:
        return np.ones(like.shape, bool)
    return np.broadcast_to(mask.astype(bool), like.shape)


def _distance(band: NDArray[Any], guides: NDArray[Any], valid: Mask) -> Figure:
    """D_ρ of one band and its best guide."""
    found = [_local(band, guide, valid) for guide in guides]
    known = [value for value in found if value is not None]
    return 1 - max(known) if known else None


def _local(band: NDArray[Any], guide: NDArray[Any], valid: Mask) -> Figure:
    """Mean correlation over the windows that are whole and not flat."""
    if min(valid.shape) < UIQ_WINDOW:
        return None
    x, y = (np.where(valid, image, 0.0).astype(np.float64) for image in (band, guide))
    mean_x, mean_y = box(x), box(y)
    spread_x, spread_y = box(x * x) - mean_x**2, box(y * y) - mean_y**2
    rough = (spread_x > 1e-12 * mean_x**2) & (spread_y > 1e-12 * mean_y**2)
    kept = unmasked(valid, UIQ_WINDOW) & rough
    covariance = (box(x * y) - mean_x * mean_y)[kept]
    return float((covariance / np.sqrt(spread_x * spread_y)[kept]).mean()) if kept.any() else None


def _check(lr: NDArray[Any], sr: NDArray[Any], hr: NDArray[Any] | None, scale: int) -> None:
    bands, rows, cols = lr.shape
    expected = (bands, rows * scale, cols * scale)
    for name, image in (("sr", sr), ("hr", hr)):
        if image is not None and image.shape != expected:
            raise UsageError(
                f"opensr: {name} of {image.shape}, lr of {lr.shape} at scale {scale}. "
                f"Give {name} of {expected}."
            )
    if min(expected[1:]) <= 2 * scale * -(-BORDER // scale):
        raise UsageError(f"opensr: images of {expected}, nothing is left inside 16 px. Give more.")
    if not all(np.isfinite(image).all() for image in (lr, sr, hr) if image is not None):
        raise UsageError("opensr: an image holds NaN or infinity. Cut out what is valid.")


def enlarged(image: NDArray[Any], size: tuple[int, ...]) -> Array:
    """lr↑, as opensr-test brings an input to the grid of its output."""
    return _resize(np.asarray(image, np.float64), size)


def _resize(image: Array, size: tuple[int, ...]) -> Array:
    batch = torch.from_numpy(np.ascontiguousarray(image))[None]
    resized = F.interpolate(batch, size, mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(resized[0].numpy())


def _inside(image: Array, margin: int) -> Array:
    return image[:, margin : image.shape[1] - margin, margin : image.shape[2] - margin]


def _agreement(lr: Array, down: Array) -> dict[str, Figure]:
    scores = Scores([str(i) for i in range(len(lr))], extra=False)
    scores.add(lr, down, np.ones(lr.shape, bool))
    shift = _shift(lr, down)
    return {
        "reflectance": scores.whole()["mae"],
        "spectral": scores.sam,
        "spatial": None if shift is None else float(np.hypot(*shift)),
    }


def _harmonised(sr: Array, hr: Array) -> Array:
    """Histogram and place of hr; what comes in at the edge lies in the border left out."""
    matched = np.stack([_matched(a, b) for a, b in zip(sr, hr, strict=True)])
    shift = _shift(hr, matched)
    if shift is None or max(map(abs, shift)) > MOST:
        return matched
    return np.roll(matched, tuple(-round(part) for part in shift), (1, 2))


def _matched(image: Array, like: Array) -> Array:
    """Each value to the one of equal rank; equal values stay equal."""
    _, inverse, counts = np.unique(image, return_inverse=True, return_counts=True)
    values, wanted = np.unique(like, return_counts=True)
    ranks = np.cumsum(counts) / image.size
    return np.interp(ranks, np.cumsum(wanted) / like.size, values)[inverse].reshape(image.shape)


def _shift(fixed: Array, moved: Array) -> tuple[float, float] | None:
    """Rows and columns by which `moved` lies off, by phase correlation of the mean over bands.

    The peak among whole pixels, then among 1/20 around it (Guizar-Sicairos et al. 2008). None
    where either is flat.
    """
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in fixed.shape[1:]))
    flat = [image.mean(0) - image.mean() for image in (fixed, moved)]
    if any(np.ptp(image) == 0 for image in flat):
        return None
    spectra = [np.fft.fft2(image * window) for image in flat]
    cross = spectra[1] * spectra[0].conj()
    power = np.abs(cross)
    cross = np.where(power > 1e-12 * power.max(), cross / np.maximum(power, 1e-300), 0)
    peak = np.unravel_index(np.fft.ifft2(cross).real.argmax(), cross.shape)
    near = [int(at) - n * (int(at) > n // 2) for at, n in zip(peak, cross.shape, strict=True)]
    fine = [at + np.arange(-_FINER, _FINER + 1) / _FINER for at in near]
    waves = [
        np.exp(2j * np.pi * np.outer(at, np.fft.fftfreq(n)))
        for at, n in zip(fine, cross.shape, strict=True)
    ]
    around = (waves[0] @ cross @ waves[1].T).real
    row, col = np.unravel_index(around.argmax(), around.shape)
    return float(fine[0][row]), float(fine[1][col])


def _correctness(up: Array, sr: Array, hr: Array) -> dict[str, Figure]:
    reference, better, same = _difference(up, hr), _difference(sr, hr), _difference(sr, up)
    kept = np.max([reference, better, same], 0) > np.percentile(reference, 75)
    if not kept.any():
        return dict.fromkeys(WITH_TRUTH)
    base = np.maximum(reference[kept], 1e-12)
    a, o = better[kept] / base, same[kept] / base
    rest = 1 - np.exp(-0.05 * (a + o - 1))
    terms = np.stack([a + o * rest, o + a * rest, np.exp(-0.05 * a * o)])
    weights = np.exp(-(terms - terms.min(0)) / 0.25)
    means = (weights / weights.sum(0)).mean(1)
    return dict(zip(WITH_TRUTH, map(float, means), strict=True))


def _difference(a: Array, b: Array) -> Array:
    """Normalised, mean over bands; 0 where both are."""
    return np.asarray((np.abs(a - b) / np.maximum(np.abs(a) + np.abs(b), 1e-12)).mean(0))
