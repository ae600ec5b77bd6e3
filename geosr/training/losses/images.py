"""Losses of images, by pixels and neighbourhoods.

Shapes and counts are as `geosr.training.losses` says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.training.losses.masked import clean, count, require_side

SHIFT = 3  # pixels by which `registered` lets an image be off, each way
CEILING = 60.0  # dB at which `psnr` is content
_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for values of peak 1
_WINDOW = 11
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, finest first


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error."""
    x, y, valid = clean(prediction, target, mask)
    return (x - y).abs().sum(), count(valid, x)


def mse(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error."""
    x, y, valid = clean(prediction, target, mask)
    return (x - y).square().sum(), count(valid, x)


def charbonnier(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(d² + ε²) with ε = 1e-3: the absolute error, smooth at zero (Lai et al. 2017)."""
    x, y, valid = clean(prediction, target, mask)
    return (((x - y).square() + 1e-6).sqrt() * valid).sum(), count(valid, x)


def psnr(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """−PSNR / 100 of each sample, peak 1; without a gradient above 60 dB. Counts samples."""
    x, y, valid = clean(prediction, target, mask)
    n = valid.sum((1, 2, 3))
    error = (x - y).square().sum((1, 2, 3)) / n.clamp(min=1)
    decibels = (-10 * (error + 1e-8).log10()).clamp(max=CEILING)
    return (-decibels / 100 * (n > 0)).sum(), count(n > 0, x)


def dssim(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(1 − SSIM) / 2 over Gaussian windows of 11 × 11 that are wholly valid.

    Raises:
        UsageError: patches smaller than a window.
    """
    require_side(target, _WINDOW, "dssim")
    x, y, valid = clean(prediction, target, mask)
    similarity = torch.mul(*_similarity(x, y))
    whole = _whole(valid, _WINDOW)
    return ((1 - similarity) / 2 * whole).sum(), count(whole, x)


def ms_ssim(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """1 − MS-SSIM of each band of each sample; counts those with a valid window at every scale.

    Raises:
        UsageError: patches below 176 px, whose fifth scale holds no window.
    """
    require_side(target, _WINDOW << (len(_SCALES) - 1), "ms-ssim")
    x, y, valid = clean(prediction, target, mask)
    product = x.new_ones(x.shape[:2])  # (batch, bands)
    usable = torch.ones_like(product, dtype=torch.bool)
    for level, weight in enumerate(_SCALES):
        last = level == len(_SCALES) - 1
        luminance, contrast = _similarity(x, y)
        whole = _whole(valid, _WINDOW)
        n = whole.sum((2, 3))
        mean = ((luminance * contrast if last else contrast) * whole).sum((2, 3)) / n.clamp(min=1)
        product = product * mean.clamp(min=1e-4) ** weight  # near 0 the root's gradient explodes
        usable &= n > 0
        if not last:
            x, y, valid = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), _whole(valid, 2, 2)
    return ((1 - product) * usable).sum(), count(usable, x)


def gradient(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of Sobel's two derivatives, summed, per pixel of distance.

    Raises:
        UsageError: patches below 3 px.
    """
    require_side(target, 3, "gradient")
    x, y, valid = clean(prediction, target, mask)
    error = x - y
    smooth_rows = error[..., :-2, :] + 2 * error[..., 1:-1, :] + error[..., 2:, :]
    smooth_cols = error[..., :-2] + 2 * error[..., 1:-1] + error[..., 2:]
    across = smooth_rows[..., 2:] - smooth_rows[..., :-2]
    down = smooth_cols[..., 2:, :] - smooth_cols[..., :-2, :]
    whole = _whole(valid, 3)
    return ((across.abs() + down.abs()) / 8 * whole).sum(), count(whole, x)


def tv(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Total variation of the prediction: steps to the right and lower neighbour, both valid."""
    x, _, valid = clean(prediction, target, mask)
    right = (x[..., :-1, 1:] - x[..., :-1, :-1]).abs()
    below = (x[..., 1:, :-1] - x[..., :-1, :-1]).abs()
    whole = valid[..., :-1, :-1] & valid[..., :-1, 1:] & valid[..., 1:, :-1]
    return ((right + below) * whole).sum(), count(whole, x)


def spectral_tv(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Squared total variation along the spectrum: steps of the prediction from band to band.

    Of cubes of many narrow bands, whose spectra are smooth (Jiang et al. 2020).

    Raises:
        UsageError: a single band has no neighbour.
    """
    _require_bands(target, "spectral-tv")
    x, _, valid = clean(prediction, target, mask)
    both = valid[:, 1:] & valid[:, :-1]
    return ((x[:, 1:] - x[:, :-1]).square() * both).sum(), count(both, x)


def _require_bands(target: Tensor, name: str) -> None:
    if target.shape[1] < 2:
        raise UsageError(
            f"loss '{name}' needs at least two bands, found 1. Give --bands, or leave it."
        )


def sam(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Spectral angle in radians of pixels with all bands valid and a length.

    The cosine is taken × (1 − 1e-6), where arccos still has a slope.

    Raises:
        UsageError: a single band has no angle.
    """
    _require_bands(target, "sam")
    x, y, valid = clean(prediction, target, mask)
    squares = x.square().sum(1), y.square().sum(1)
    usable = valid.all(1) & ~(squares[0] < 1e-16) & ~(squares[1] < 1e-16)  # NaN is not hidden
    lengths = [torch.where(usable, square, 1).sqrt().unsqueeze(1) for square in squares]
    cosine = ((x / lengths[0]) * (y / lengths[1])).sum(1).clamp(-1, 1) * (1 - 1e-6)
    return (cosine.arccos() * usable).sum(), count(usable, x)


def registered(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error at the best of 49 shifts of up to 3 px, each band's brightness aligned.

    The prediction loses 3 px on every side. Counts samples; a pixel is compared where it is valid
    at both places. The smallest error's gradient is that of its own shift, so only that one is
    kept for the backward pass.

    Raises:
        UsageError: patches below 12 px, of which too little is left.
    """
    require_side(target, 12, "registered")
    x, y, valid = clean(prediction, target, mask)
    shifts = [(u, v) for u in range(2 * SHIFT + 1) for v in range(2 * SHIFT + 1)]
    with torch.no_grad():
        tried = [_shifted(x, y, valid, shift) for shift in shifts]
        errors = torch.stack([torch.where(n > 0, error, math.inf) for error, n in tried])
    best = errors.argmin(0).tolist()  # one shift per sample
    kept = [
        _shifted(x[i : i + 1], y[i : i + 1], valid[i : i + 1], shifts[k])
        for i, k in enumerate(best)
    ]
    error, n = torch.cat([error for error, _ in kept]), torch.cat([n for _, n in kept])
    return error.sum(), count(n > 0, x)


def _shifted(x: Tensor, y: Tensor, valid: Tensor, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean absolute error of each sample without its bands' bias, and its number of pixels."""
    u, v = shift
    rows, cols = (side - 2 * SHIFT for side in x.shape[-2:])
    inner = (..., slice(SHIFT, SHIFT + rows), slice(SHIFT, SHIFT + cols))
    moved = (..., slice(u, u + rows), slice(v, v + cols))
    both = valid[inner] & valid[moved]
    n = both.sum((2, 3), keepdim=True)
    error = (y[moved] - x[inner]) * both
    error = (error - error.sum((2, 3), keepdim=True) / n.clamp(min=1)) * both
    total = n.sum((1, 2, 3))
    return error.abs().sum((1, 2, 3)) / total.clamp(min=1), total


def laplace_nll(
    mean: Tensor, log_scale: Tensor, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """s + |y − μ| · exp(−s): how unlikely the target is under Laplace's law (Valsesia 2021)."""
    x, y, valid = clean(mean, target, mask)
    scale = torch.where(valid, log_scale.to(x.dtype), 0)
    return (scale + (x - y).abs() * torch.exp(-scale)).sum(), count(valid, x)


def _whole(valid: Tensor, side: int, stride: int = 1) -> Tensor:
    """Windows of side × side without a masked pixel."""
    return F.max_pool2d((~valid).float(), side, stride) == 0


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's luminance and contrast-structure over all Gaussian windows that lie inside."""
    mean_x, mean_y, xx, yy, xy = (_blur(z) for z in (x, y, x * x, y * y, x * y))
    covariance = xy - mean_x * mean_y
    variances = xx - mean_x**2 + yy - mean_y**2
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blur(x: Tensor) -> Tensor:
    """Gaussian of σ = 1.5, (batch, bands, rows − 10, cols − 10)."""
    at = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * 1.5**2))
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    images = x.flatten(0, 1).unsqueeze(1)  # (batch · bands, 1, rows, cols)
    blurred = F.conv2d(F.conv2d(images, weights), weights.mT)
    return blurred.view(*x.shape[:2], *blurred.shape[-2:])
