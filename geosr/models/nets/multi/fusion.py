"""Several frames of one place brought together without learning: the baselines of multi-image nets.

Every frame samples the image at its shift, through a Gaussian point spread:

    frame_t = D_t · image,  D_t = sample every s-th pixel of the blurred image, moved by shift_t

    mean           bicubic frames, averaged where they are clear
    median         the middle one of them at every pixel, which no single outlier moves
    shift-and-add  each sample laid down where it fell on the fine grid, then the gaps between
                   them: normalised convolution (Knutsson and Westin 1993) of a narrow Gaussian
    ibp            iterated back-projection (Irani and Peleg 1991), steps as SIRT takes them:
                   image += Σ D_tᵀ m_t (frame_t - D_t image) / Σ D_tᵀ m_t

Any number of frames of any order; a mask m is 1 where a frame is clear. Between dates the ground
changes, and masks miss clouds: `agreeing` weighs frames by how well they agree with the first,
`usual` by how well they agree with most of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design

BLUR = 0.375  # σ of the point spread in coarse pixels
_NARROW = 0.2  # of shift-and-add, in coarse pixels
_LEAST = 1e-6
_TINY = 1e-12  # a variance, of unit values
_BEFORE = 4  # steps of back-projection before frames are compared
_CHANGE = 0.7  # σ of what is taken for one place of a change, coarse pixels
_AROUND = 2.0  # σ of the surroundings in which noise is told from change, coarse pixels
_LEAST_WEIGHT = 0.01  # of a pixel that is clear

Agree = Callable[..., tuple[Tensor, Tensor]]


def sampling(size: int, scale: int, shift: Tensor, blur: float) -> Tensor:
    """Rows of D along one axis, (…, size, scale · size), for `shift` (…) in coarse pixels.

    Every row sums to one, also where the point spread reaches past the edge.
    """
    fine = torch.arange(scale * size, device=shift.device, dtype=torch.float32)
    coarse = torch.arange(size, device=shift.device, dtype=torch.float32)
    centre = (coarse + 0.5 + shift[..., None]) * scale - 0.5  # (…, size)
    at = (fine - centre[..., None].clamp(0, scale * size - 1)) / (blur * scale)
    weights = torch.exp(-0.5 * at**2) * (at.abs() < 4)
    return weights / weights.sum(-1, keepdim=True)


def cubic(size: int, scale: int, shift: Tensor) -> Tensor:
    """Rows of cubic convolution (Keys 1981, a = −0.5) onto the fine grid, (…, scale · size, size).

    Edges are repeated.
    """
    fine = torch.arange(scale * size, device=shift.device, dtype=torch.float32)
    at = ((fine + 0.5) / scale - 0.5 - shift[..., None]).clamp(0, size - 1)
    first = at.floor()
    weights = torch.zeros(*at.shape, size, device=shift.device)
    for tap in range(-1, 3):
        x = (at - first - tap).abs()
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weight = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
        index = (first + tap).clamp(0, size - 1).long()
        weights.scatter_add_(-1, index[..., None], weight[..., None])
    return weights


def apply(down: Tensor, x: Tensor, across: Tensor) -> Tensor:
    """Matrices along rows and columns of (batch, frames, bands, …, …), one of each a frame."""
    return down.unsqueeze(2) @ x @ across.unsqueeze(2).transpose(-1, -2)


class Sampling:
    """How the frames of a batch sample the image: D and its transpose.

    Args:
        shape: (rows, cols) of a frame.
        shifts: (batch, frames, 2), rows and columns, coarse pixels.
    """

    def __init__(
        self, shape: tuple[int, int], scale: int, shifts: Tensor, blur: float = BLUR
    ) -> None:
        down, across = shifts.float().unbind(-1)
        self.down = sampling(shape[0], scale, down, blur)
        self.across = sampling(shape[1], scale, across, blur)

    def see(self, image: Tensor) -> Tensor:
        """D: (batch, bands, fine rows, fine cols) to frames (batch, frames, bands, rows, cols)."""
        return apply(self.down, image.unsqueeze(1), self.across)

    def spread(self, frames: Tensor) -> Tensor:
        """Dᵀ of every frame by itself: (batch, frames, bands, fine rows, fine cols)."""
        return apply(self.down.transpose(-1, -2), frames, self.across.transpose(-1, -2))

    def gather(self, frames: Tensor) -> Tensor:
        """Σ Dᵀ over the frames: (batch, bands, fine rows, fine cols)."""
        return self.spread(frames).sum(1)


def _mended(frames: Tensor, counted: Tensor, sampler: Sampling) -> Tensor:
    """Frames whose unclear pixels are as the clear ones of the others let expect."""
    weight = sampler.gather(counted).clamp(min=_LEAST)
    return torch.where(counted > 0, frames, sampler.see(sampler.gather(frames * counted) / weight))


def _counted(clear: Tensor) -> Tensor:
    """The mask; all of it where no frame is clear at a pixel, so that there is a value."""
    return torch.where(clear.any(1, keepdim=True), clear, 1.0).float()


def enlarged(frames: Tensor, scale: int, shifts: Tensor) -> Tensor:
    """Bicubic frames on the fine grid of shift 0, (batch, frames, bands, …)."""
    down, across = shifts.float().unbind(-1)
    rows, cols = frames.shape[-2:]
    return apply(cubic(rows, scale, down), frames, cubic(cols, scale, across))


def mean(frames: Tensor, clear: Tensor, shifts: Tensor, scale: int) -> Tensor:
    """The bicubic frames' mean where they are clear."""
    sampler, counted = Sampling(_shape(frames), scale, shifts), _counted(clear)
    weights = sampler.spread(counted) + _LEAST
    up = enlarged(_mended(frames, counted, sampler), scale, shifts)
    return (up * weights).sum(1) / weights.sum(1)


def median(frames: Tensor, clear: Tensor, shifts: Tensor, scale: int) -> Tensor:
    """The bicubic frames' median where they are mostly clear; of an even number the middle two."""
    sampler, counted = Sampling(_shape(frames), scale, shifts), _counted(clear)
    usable = sampler.spread(counted) > 0.5 * sampler.spread(torch.ones_like(counted))
    usable = torch.where(usable.any(1, keepdim=True), usable, True)
    up = enlarged(_mended(frames, counted, sampler), scale, shifts)
    ranked = torch.where(usable, up, torch.inf).sort(1).values
    n = usable.sum(1, keepdim=True).expand_as(up[:, :1])
    return ((ranked.gather(1, (n - 1) // 2) + ranked.gather(1, n // 2)) / 2).squeeze(1)


def shift_and_add(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: float = _NARROW
) -> Tensor:
    """Samples where they fell, each fine pixel the weighted mean of those near it."""
    sampler, counted = Sampling(_shape(frames), scale, shifts, blur), _counted(clear)
    wide = Sampling(_shape(frames), scale, shifts)
    rest = wide.gather(frames * counted) / wide.gather(counted).clamp(min=_LEAST)
    weight = sampler.gather(counted)
    return (sampler.gather(frames * counted) + _LEAST * rest) / (weight + _LEAST)


def back_projected(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, steps: int = 10,
    blur: float = BLUR, agree: Agree | None = None,
) -> Tensor:  # fmt: skip
    """Iterated back-projection from the frames' mean.

    Args:
        agree: `agreeing` or `usual`, which tell how frames that disagree are taken.
    """
    if agree:
        frames, clear = agree(frames, clear, shifts, scale, blur=blur)
    sampler, counted = Sampling(_shape(frames), scale, shifts, blur), _counted(clear)
    weight = sampler.gather(counted).clamp(min=_LEAST)
    image = mean(frames, clear, shifts, scale)
    for _ in range(steps):
        image = image + sampler.gather(counted * (frames - sampler.see(image))) / weight
    return image


def agreeing(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: float = BLUR
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
    counted = _counted(clear)
    smooth, noise, kept = _parted(frames - _seen(frames, counted, shifts, scale, blur), counted)
    noise = enlarged(noise, 1, shifts).clamp(min=0)
    change = enlarged(smooth, 1, shifts)
    change = change - change[:, :1]
    power = _around(change**2, _AROUND).clamp(min=_TINY)
    share = (1 - kept * (noise + noise[:, :1]) / power).clamp(0, 1)
    change = share * change
    spread = _around(change**2, _AROUND)
    usual = noise.median(1, keepdim=True).values + _TINY
    weights = enlarged((usual / (usual + spread)).amin(2, keepdim=True), 1, -shifts)
    return frames - enlarged(change, 1, -shifts), counted * weights.clamp(_LEAST_WEIGHT, 1)


def usual(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: float = BLUR
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
    counted = _counted(clear)
    middle = median(frames, clear, shifts, 1).unsqueeze(1).expand_as(frames)
    smooth, noise, kept = _parted(frames - enlarged(middle, 1, -shifts), counted)
    change = (_around(smooth**2, _AROUND) - kept * noise).clamp(min=0)
    ordinary = noise.median(1, keepdim=True).values + _TINY
    weights = (ordinary / (ordinary + change)).amin(2, keepdim=True)
    return frames, counted * weights.clamp(_LEAST_WEIGHT, 1)


def _parted(rest: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, float]:
    """What frames have beyond others, smoothed; the variance of noise around each pixel, told from
    what is left unsmoothed; and the share of it that smoothing keeps.
    """
    rest = counted * rest
    narrow = gaussian(_CHANGE, math.ceil(3 * _CHANGE), rest)
    kept = float((narrow**2).sum()) ** 2  # of white noise, as a variance
    smooth = _around(rest, _CHANGE) / _around(counted, _CHANGE).clamp(min=0.05)
    rough = _around((rest - counted * smooth) ** 2, _AROUND)
    return smooth, rough / _around(counted, _AROUND).clamp(min=0.05) / (1 - kept), kept


def _seen(
    frames: Tensor, counted: Tensor, shifts: Tensor, scale: int, blur: float
) -> Tensor:  # fmt: skip
    """All frames as their back-projected image lets expect them."""
    image = back_projected(frames, counted, shifts, scale, steps=_BEFORE, blur=blur)
    return Sampling(_shape(frames), scale, shifts, blur).see(image)


def gaussian(sigma: float, reach: int, like: Tensor) -> Tensor:
    """2 · reach + 1 taps that sum to one."""
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=like.device) / sigma) ** 2)
    return (taps / taps.sum()).to(like.dtype)


def gaussian_mean(x: Tensor, sigma: float, reach: int) -> Tensor:
    """Gaussian mean of (batch, frames, bands, rows, cols) over rows and columns; edges repeated."""
    taps = gaussian(sigma, reach, x)
    flat = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1)).view(x.shape)


def _around(x: Tensor, sigma: float) -> Tensor:
    return gaussian_mean(x, sigma, math.ceil(3 * sigma))


def _shape(frames: Tensor) -> tuple[int, int]:
    return frames.shape[-2], frames.shape[-1]


class Fusion(nn.Module):
    """One of the functions above as a net without parameters."""

    def __init__(self, fuse: Callable[..., Tensor], scale: int) -> None:
        super().__init__()
        self.fuse, self.scale = fuse, scale

    def forward(self, frames: Tensor, clear: Tensor, shifts: Tensor) -> Tensor:
        with torch.autocast(frames.device.type, enabled=False):
            return self.fuse(frames.float(), clear.float(), shifts, self.scale)


_EACH = {2: 5, 3: 6, 4: 6}
_STEPS: dict[str, object] = {"steps": 10, "blur": BLUR}
_FUSIONS: dict[str, tuple[Callable[..., Tensor], dict[int, int], str, dict[str, object]]] = {
    "mean": (mean, _EACH, "bicubic frames, registered and averaged", {}),
    "median": (median, _EACH, "bicubic frames, registered, their median", {}),
    "shift-and-add": (shift_and_add, dict.fromkeys(_EACH, 2), "shift-and-add", {}),
    "ibp": (
        back_projected,
        dict.fromkeys(_EACH, 24),
        "iterated back-projection (Irani and Peleg 1991)",
        _STEPS,
    ),
    "ibp-reference": (
        partial(back_projected, agree=agreeing),
        dict.fromkeys(_EACH, 32),
        "iterated back-projection of the first frame's ground (weights after Wronski et al. 2019)",
        {**_STEPS, "steps": 20},
    ),
    "ibp-robust": (
        partial(back_projected, agree=usual),
        dict.fromkeys(_EACH, 32),
        "iterated back-projection, frames weighted by how well they agree with their median",
        _STEPS,
    ),
}


def build(card: ModelCard) -> Fusion:
    """The fusion of a card."""
    fuse = _FUSIONS[card.arch.removeprefix("fuse-")][0]
    return Fusion(partial(fuse, **card.options), card.scale)


# Back-projection reaches a little further with every step: tiles read far and blend.
DESIGNS = tuple(
    Design(name, "misr", f"fuse-{name}", build, reach, 3, source, frames=9, shifts=True, fewer=True,
           blend=4 if options else 0, options=options)
    for name, (_, reach, source, options) in _FUSIONS.items()
)  # fmt: skip
