"""The most probable image that frames of one place show: regularised least squares.

    minimum over image of  Σ m_t (frame_t - D_t image)² + λ Σ (Laplacian of image)²,
    λ = variance of noise / variance of the Laplacian

The maximum a posteriori of Hardie et al. (IEEE TIP 6, 1997), for white noise and detail that falls
as a natural image's does; D_t and m_t as in `fusion`, found by conjugate gradients. Both variances
are told from the frames: noise, change of the ground and missed clouds by what a few steps of
back-projection leave, detail by the frames' own Laplacian, which hardly depends on the scale.
So many good frames are sharpened much and few bad ones little. `map-reference` and
`map-robust` take frames as `agreement` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design
from geosr.models.nets.multi.agreement import agreeing, usual
from geosr.models.nets.multi.fusion import (
    BLUR,
    Blur,
    Fusion,
    Sampling,
    all_counted,
    back_projected,
    shape_of,
)
from geosr.scene.pointspread import SENSOR

_BEFORE = 4  # steps of back-projection that noise is told after
STEPS = 16  # of conjugate gradients
_PRIOR = 0.7  # the fine image's Laplacian has 1 / 0.7 of a frame's variance, of Landsat scenes
_KERNEL = 20.0  # by how much a Laplacian raises the variance of white noise
_TINY = 1e-12

Agree = Callable[..., tuple[Tensor, Tensor]]


def most_probable(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, steps: int = STEPS,
    blur: Blur = BLUR, agree: Agree | None = None,
) -> Tensor:  # fmt: skip
    """The image of least error and detail, weighed by how much noise there is.

    Args:
        frames: (batch, frames, bands, rows, cols), unit values.
        clear: (batch, frames, 1, rows, cols).
        shifts: (batch, frames, 2), coarse pixels.
        agree: `agreeing` or `usual`, which tell how frames that disagree are taken.

    Returns:
        (batch, bands, scale · rows, scale · cols).
    """
    counted = all_counted(clear)
    if agree:
        frames, counted = agree(frames, clear, shifts, scale, blur=blur)
    sampler = Sampling(shape_of(frames), scale, shifts, blur)
    image = back_projected(frames, counted, shifts, scale, steps=_BEFORE, blur=blur)
    weights = counted * clear  # where no frame is clear the prior goes on from what is around
    smoothness = _PRIOR * _noise_to_detail(frames, frames - sampler.see(image), weights)

    def normal(x: Tensor) -> Tensor:
        rough = smoothness * laplacian(laplacian(x))
        return sampler.gather(weights * sampler.see(x)) + rough

    return conjugate_gradients(normal, sampler.gather(weights * frames), image, steps)


def _noise_to_detail(frames: Tensor, rest: Tensor, weights: Tensor) -> Tensor:
    """Variance of noise over a noiseless Laplacian's, (batch, bands, 1, 1): medians of frames.

    Args:
        rest: what an image of all frames does not tell of each.
        weights: (batch, frames, 1, rows, cols), 0 where a frame is not clear.
    """
    inner = -F.max_pool2d(-weights.flatten(0, 1), 3, 1, 1).view_as(weights)
    noise = _median(_mean(rest**2, weights))
    detail = _median(_mean(laplacian(frames) ** 2, inner))
    told = (detail - _KERNEL * noise).clamp(min=0.05 * detail)
    return (noise / (told + _TINY)).nan_to_num()[..., None, None]


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of (batch, frames, bands, rows, cols) over pixels; NaN where all weigh 0."""
    return (weights * x).sum((3, 4)) / weights.sum((3, 4))


def _median(x: Tensor) -> Tensor:
    """The middle frame's, of an even number the mean of the middle two; NaN does not count."""
    return x.nanquantile(0.5, 1)


def laplacian(x: Tensor) -> Tensor:
    """Four times a pixel less its four neighbours, (…, rows, cols); edges repeated."""
    flat = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (1,) * 4, mode="replicate")
    inner, rows, cols = flat[..., 1:-1, 1:-1], flat[..., 1:-1], flat[..., 1:-1, :]
    around = rows[..., 2:, :] + rows[..., :-2, :] + cols[..., 2:] + cols[..., :-2]
    return (4 * inner - around).view_as(x)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, steps: int
) -> Tensor:
    """Solve normal(x) = right for a symmetric operator (Hestenes and Stiefel 1952).

    Every image of (batch, bands, rows, cols) is a system of its own.
    """
    x, rest = start, right - normal(start)
    way, power = rest, _dot(rest, rest)
    for _ in range(steps):
        ahead = normal(way)
        far = power / _dot(way, ahead).clamp(min=torch.finfo(x.dtype).tiny)
        x, rest = x + far * way, rest - far * ahead
        before, power = power, _dot(rest, rest)
        way = rest + power / before.clamp(min=torch.finfo(x.dtype).tiny) * way
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)


_KINDS: dict[str, tuple[Agree | None, str]] = {
    "map": (None, "maximum a posteriori (Hardie et al. 1997)"),
    "map-reference": (
        agreeing,
        "maximum a posteriori of the first frame's ground (weights after Wronski et al. 2019)",
    ),
    "map-robust": (
        usual,
        "maximum a posteriori, frames weighted by how well they agree with their median",
    ),
}


def build(card: ModelCard) -> Fusion:
    """The fusion of a card."""
    options = {**card.options, "agree": _KINDS[card.arch][0]}
    if options["blur"] == SENSOR:
        options["blur"] = BLUR
    return Fusion(partial(most_probable, **options), card.scale)


# Noise and steps are a tile's own: tiles blend.
DESIGNS = tuple(
    Design(name, "misr", name, build, dict.fromkeys((2, 3, 4), 32), 3, source, frames=9,
           shifts=True, fewer=True, blend=4, options={"steps": STEPS, "blur": SENSOR})
    for name, (_, source) in _KINDS.items()
)  # fmt: skip
