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
_REACH = 6  # pixels, of the filter on every side


def low_pass(x: Tensor) -> Tensor:
    """What of (batch, bands, rows, cols) lies below a quarter of a cycle per pixel.

    A disc in the spectrum by a jinc within a Hann window, 13 × 13, the same in all directions;
    edges are mirrored.
    """
    kernel = _disc(x)
    images = F.pad(x.flatten(0, 1).unsqueeze(1), (_REACH,) * 4, mode="reflect")
    return F.conv2d(images, kernel).view(x.shape)


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


def _disc(like: Tensor) -> Tensor:
    """The filter, (1, 1, 13, 13), of sum one."""
    at = torch.arange(-_REACH, _REACH + 1, dtype=like.dtype, device=like.device)
    radius = torch.hypot(at[:, None], at[None, :]).clamp(min=1e-3)
    jinc = CUT * torch.special.bessel_j1(2 * math.pi * CUT * radius) / radius
    window = torch.cos(math.pi / 2 * (radius / (_REACH + 1)).clamp(max=1)).square()
    kernel: Tensor = jinc * window
    return (kernel / kernel.sum()).view(1, 1, *kernel.shape)
