"""Frames of a place whose ground changes, and of which masks miss clouds: whom to believe.

`agreeing` weighs frames by how well they agree with the first, and takes off them what changed;
`usual` weighs them by how well they agree with most. Noise and change are told apart by smoothing:
white noise keeps a share of its power that is known, change keeps nearly all.
"""

from __future__ import annotations

import math

from torch import Tensor

from geosr.models.nets.multi.fusion import (
    BLUR,
    Blur,
    Sampling,
    all_counted,
    back_projected,
    enlarged,
    gaussian_mean,
    median,
    middle,
    shape_of,
)

_TINY = 1e-12  # a variance, of unit values
_BEFORE = 4  # steps of back-projection before frames are compared
_CHANGE = 0.7  # σ of what is taken for one place of a change, coarse pixels
_AROUND = 2.0  # σ of the surroundings in which noise is told from change, coarse pixels
_LEAST_WEIGHT = 0.01  # of a pixel that is clear


def agreeing(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: Blur = BLUR
) -> tuple[Tensor, Tensor]:
    """Frames that show the first one's ground, and weights by how well they did before.

    What a frame has beyond all frames' image, smoothed, less what the first one has there, is the
    ground's change, with a share of noise that is known from what is left unsmoothed. The change
    is taken away, and a pixel's weight is noise / (noise + change), variances around it: the
    robust merging of Wronski et al. (ACM TOG 38, 2019), whose reference frame is the sharpest one.

    Args:
        frames: (batch, frames, bands, rows, cols).
        clear: (batch, frames, 1, rows, cols); where the first is not, it agrees with the others.
        shifts: (batch, frames, 2), of the first zero.

    Returns:
        The frames, and weights from 0 where they are not clear to 1, (batch, frames, 1, …).
    """
    counted = all_counted(clear)
    smooth, noise = _parted(frames - _seen(frames, counted, shifts, scale, blur), counted)
    noise = enlarged(noise, 1, shifts).clamp(min=0)
    change = enlarged(smooth, 1, shifts)
    change = change - change[:, :1]
    power = _around(change**2, _AROUND).clamp(min=_TINY)
    share = (1 - _kept() * (noise + noise[:, :1]) / power).clamp(0.0, 1.0)
    change = share * change
    spread = _around(change**2, _AROUND)
    usual = _ordinary(noise, enlarged(counted, 1, shifts))
    weights = enlarged((usual / (usual + spread)).amin(2, keepdim=True), 1, -shifts)
    return frames - enlarged(change, 1, -shifts), counted * weights.clamp(_LEAST_WEIGHT, 1.0)


def usual(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: Blur = BLUR
) -> tuple[Tensor, Tensor]:
    """Frames as they are, and weights by how well they agree with the median of all.

    What a frame has beyond the median, seen at its place, smoothed, is change or a cloud that its
    mask missed, but for a share of noise known from what is left unsmoothed. A pixel's weight is
    noise / (noise + change), variances around it. Blind: no frame is the reference.

    Args:
        frames, clear, shifts: as of `agreeing`; `scale` and `blur` are not looked at.

    Returns:
        The frames, and weights from 0 where they are not clear to 1, (batch, frames, 1, …).
    """
    counted = all_counted(clear)
    most = median(frames, clear, shifts, 1).unsqueeze(1).expand_as(frames)
    smooth, noise = _parted(frames - enlarged(most, 1, -shifts), counted)
    change = (_around(smooth**2, _AROUND) - _kept() * noise).clamp(min=0)
    ordinary = _ordinary(noise, counted)
    weights = (ordinary / (ordinary + change)).amin(2, keepdim=True)
    return frames, counted * weights.clamp(_LEAST_WEIGHT, 1.0)


def _parted(rest: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """What frames have beyond others, smoothed; and the variance of noise around each pixel, told
    from what is left unsmoothed.
    """
    rest = counted * rest
    smooth = _around(rest, _CHANGE) / _around(counted, _CHANGE).clamp(min=0.05)
    rough = _around((rest - counted * smooth) ** 2, _AROUND)
    noise = rough / _around(counted, _AROUND).clamp(min=0.05) / (1 - _kept())
    return smooth, noise


def _kept() -> float:
    """The share of white noise's variance that smoothing by `_CHANGE` keeps."""
    reach = math.ceil(3 * _CHANGE)
    taps = [math.exp(-0.5 * (x / _CHANGE) ** 2) for x in range(-reach, reach + 1)]
    return (sum(tap**2 for tap in taps) / sum(taps) ** 2) ** 2


def _ordinary(noise: Tensor, counted: Tensor) -> Tensor:
    """The median frame's noise around each pixel, of those that are clear there."""
    return middle(noise, counted > 0.5) + _TINY


def _seen(
    frames: Tensor, counted: Tensor, shifts: Tensor, scale: int, blur: Blur
) -> Tensor:  # fmt: skip
    """All frames as their back-projected image lets expect them."""
    image = back_projected(frames, counted, shifts, scale, steps=_BEFORE, blur=blur)
    return Sampling(shape_of(frames), scale, shifts, blur).see(image)


def _around(x: Tensor, sigma: float) -> Tensor:
    return gaussian_mean(x, sigma, math.ceil(3 * sigma))
