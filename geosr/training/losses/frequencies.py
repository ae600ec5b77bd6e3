"""Losses by spatial frequency: what is coarse apart from what is fine.

Fritsche, Gu & Timofte, "Frequency separation for real-world super-resolution", ICCV workshops
2019: an error keeps the low frequencies faithful, and a discriminator sees the high ones alone.
Shapes and counts are as `geosr.training.losses` says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geosr.training.losses.masked import clean, count, require_side

CUT = 0.25  # cycles per pixel: the upper half of the frequencies along a row is above
_RINGS, _FLAT = 8, 1e-6  # and the power in one of them that is none
_REACH = 6  # pixels, of the filter on every side


def low_pass(x: Tensor) -> Tensor:
    """What of (batch, bands, rows, cols) lies below a quarter of a cycle per pixel.

    A disc in the spectrum by a jinc within a Hann window, 13 × 13, the same in all directions;
    edges are mirrored.
    """
    return _filtered(x, _disc(x, CUT))


def upper_half(x: Tensor) -> Tensor:
    """What lies between a quarter and half a cycle per pixel, in all directions alike.

    The corners of the spectrum beyond are left out, as metrics of sharpness leave them out.
    """
    return _filtered(x, _disc(x, 2 * CUT) - _disc(x, CUT))


def low_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of the low frequencies, of pixels that are valid.

    Raises:
        UsageError: patches smaller than the filter.
    """
    require_side(target, 2 * _REACH + 1, "low-l1")
    x, y, valid = clean(prediction, target, mask)
    return (low_pass(x - y) * valid).abs().sum(), count(valid, x)


def frequency(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of log(1 + |F|), F the orthonormal spectrum of a band; counts its numbers."""
    x, y, valid = clean(prediction, target, mask)
    spectra = [torch.fft.rfft2(image, norm="ortho").abs().log1p() for image in (x, y)]
    error = (spectra[0] - spectra[1]).abs()
    return error.sum(), count(valid.flatten(2).any(2), x) * math.prod(error.shape[-2:])


def high_frequency(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How far the power of fine detail is from the truth's, wherever the detail lies.

    Squared difference of the logarithms of power under Hann windows, in eight rings of the spectrum
    from a quarter to half a cycle per pixel; counts rings. That spectra by distance from zero
    should agree is Durall, Keuper & Keuper's (CVPR 2020).

    Raises:
        UsageError: patches whose rings hold too few numbers.
    """
    require_side(target, 32, "high-frequency")
    x, y, valid = clean(prediction, target, mask)
    a, b = ((_ring_power(image) + _FLAT).log() for image in (x, y))
    return (a - b).square().sum(), count(valid.flatten(2).any(2), x) * _RINGS


def _ring_power(x: Tensor) -> Tensor:
    """(batch, bands, rings)."""
    rows, cols = x.shape[-2:]
    hann = [torch.hann_window(n + 2, False, device=x.device)[1:-1] for n in (rows, cols)]
    down = torch.fft.fftfreq(rows, device=x.device)[:, None]
    radius = torch.hypot(down, torch.fft.rfftfreq(cols, device=x.device)[None])
    ring = ((radius / CUT - 1) * _RINGS).floor()
    rings = torch.arange(_RINGS, device=x.device)[:, None, None] == ring
    power = torch.fft.rfft2(x * torch.outer(*hann), norm="ortho").abs().square()
    return torch.einsum("bcij,rij->bcr", power, rings.to(power.dtype))


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    images = F.pad(x.flatten(0, 1).unsqueeze(1), (_REACH,) * 4, mode="reflect")
    return F.conv2d(images, kernel).view(x.shape)


def _disc(like: Tensor, cut: float) -> Tensor:
    """The filter, (1, 1, 13, 13), of sum one."""
    at = torch.arange(-_REACH, _REACH + 1, dtype=like.dtype, device=like.device)
    radius = torch.hypot(at[:, None], at[None, :]).clamp(min=1e-3)
    jinc = cut * torch.special.bessel_j1(2 * math.pi * cut * radius) / radius
    window = torch.cos(math.pi / 2 * (radius / (_REACH + 1)).clamp(max=1)).square()
    kernel: Tensor = jinc * window
    return (kernel / kernel.sum()).view(1, 1, *kernel.shape)
