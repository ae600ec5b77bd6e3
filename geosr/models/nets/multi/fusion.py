"""Several frames of one place brought together without learning: the baselines of multi-image nets.

Every frame samples the image at its shift, through a Gaussian point spread:

    frame_t = D_t · image,  D_t = sample every s-th pixel of the blurred image, moved by shift_t

    mean           bicubic frames, averaged where they are clear
    median         the middle one of them at every pixel, which no single outlier moves
    shift-and-add  each sample laid down where it fell on the fine grid, then the gaps between
                   them: normalised convolution (Knutsson and Westin 1993) of a narrow Gaussian
    ibp            iterated back-projection (Irani and Peleg 1991), steps as SIRT takes them:
                   image += Σ D_tᵀ m_t (frame_t - D_t image) / Σ D_tᵀ m_t

Any number of frames of any order; a mask m is 1 where a frame is clear.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design
from geosr.scene.pointspread import CUBIC

Blur = float | str  # σ of a Gaussian in coarse pixels, or `CUBIC`
BLUR = 0.375
_NARROW = 0.2  # of shift-and-add, in coarse pixels
_LEAST = 1e-6


def sampling(size: int, scale: int, shift: Tensor, blur: Blur) -> Tensor:
    """Rows of D along one axis, (…, size, scale · size), for `shift` (…) in coarse pixels.

    Every row sums to one, also where the point spread reaches past the edge.
    """
    fine = torch.arange(scale * size, device=shift.device, dtype=torch.float32)
    coarse = torch.arange(size, device=shift.device, dtype=torch.float32)
    centre = (coarse + 0.5 + shift[..., None]) * scale - 0.5  # (…, size)
    at = (fine - centre[..., None].clamp(0, scale * size - 1)) / scale
    weights = keys(at) if blur == CUBIC else _gaussian(at / float(blur))
    return weights / weights.sum(-1, keepdim=True)


def _gaussian(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x**2) * (x.abs() < 4)


def keys(x: Tensor) -> Tensor:
    """The kernel of cubic convolution (Keys 1981, a = −0.5)."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def cubic(size: int, scale: int, shift: Tensor) -> Tensor:
    """Rows of cubic convolution (Keys 1981, a = −0.5) onto the fine grid, (…, scale · size, size).

    Edges are repeated.
    """
    fine = torch.arange(scale * size, device=shift.device, dtype=torch.float32)
    at = ((fine + 0.5) / scale - 0.5 - shift[..., None]).clamp(0, size - 1)
    first = at.floor()
    weights = torch.zeros(*at.shape, size, device=shift.device)
    for tap in range(-1, 3):
        weight = keys(at - first - tap)
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
        self, shape: tuple[int, int], scale: int, shifts: Tensor, blur: Blur = BLUR
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

    def weigh(self, frames: Tensor) -> Tensor:
        """Σ |D|ᵀ over the frames, which of weights is never below 0."""
        down, across = self.down.abs(), self.across.abs()
        return apply(down.transpose(-1, -2), frames, across.transpose(-1, -2)).sum(1)


def _mended(frames: Tensor, counted: Tensor, sampler: Sampling) -> Tensor:
    """Frames whose unclear pixels are as the clear ones of the others let expect."""
    weight = sampler.gather(counted).clamp(min=_LEAST)
    return torch.where(counted > 0, frames, sampler.see(sampler.gather(frames * counted) / weight))


def all_counted(clear: Tensor) -> Tensor:
    """The mask; all of it where no frame is clear at a pixel, so that there is a value."""
    return torch.where(clear.any(1, keepdim=True), clear, 1.0).float()


def enlarged(frames: Tensor, scale: int, shifts: Tensor) -> Tensor:
    """Bicubic frames on the fine grid of shift 0, (batch, frames, bands, …)."""
    down, across = shifts.float().unbind(-1)
    rows, cols = frames.shape[-2:]
    return apply(cubic(rows, scale, down), frames, cubic(cols, scale, across))


def mean(frames: Tensor, clear: Tensor, shifts: Tensor, scale: int) -> Tensor:
    """The bicubic frames' mean where they are clear."""
    sampler, counted = Sampling(shape_of(frames), scale, shifts), all_counted(clear)
    weights = sampler.spread(counted) + _LEAST
    up = enlarged(_mended(frames, counted, sampler), scale, shifts)
    return (up * weights).sum(1) / weights.sum(1)


def median(frames: Tensor, clear: Tensor, shifts: Tensor, scale: int) -> Tensor:
    """The bicubic frames' median where they are mostly clear; of an even number the middle two."""
    sampler, counted = Sampling(shape_of(frames), scale, shifts), all_counted(clear)
    usable = sampler.spread(counted) > 0.5 * sampler.spread(torch.ones_like(counted))
    return middle(enlarged(_mended(frames, counted, sampler), scale, shifts), usable).squeeze(1)


def middle(values: Tensor, usable: Tensor) -> Tensor:
    """The median over frames that are usable, of an even number of them the mean of two.

    Args:
        values: (batch, frames, bands, rows, cols).
        usable: (batch, frames, 1, rows, cols); where none is, all are.

    Returns:
        (batch, 1, bands, rows, cols).
    """
    usable = usable | ~usable.any(1, keepdim=True)
    ranked = torch.where(usable, values, torch.inf).sort(1).values
    n = usable.sum(1, keepdim=True).expand_as(values[:, :1])
    return (ranked.gather(1, (n - 1) // 2) + ranked.gather(1, n // 2)) / 2


def shift_and_add(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, blur: Blur = _NARROW
) -> Tensor:
    """Samples where they fell, each fine pixel the weighted mean of those near it."""
    sampler, counted = Sampling(shape_of(frames), scale, shifts, blur), all_counted(clear)
    wide = Sampling(shape_of(frames), scale, shifts)
    rest = wide.gather(frames * counted) / wide.gather(counted).clamp(min=_LEAST)
    weight = sampler.gather(counted)
    return (sampler.gather(frames * counted) + _LEAST * rest) / (weight + _LEAST)


def back_projected(
    frames: Tensor, clear: Tensor, shifts: Tensor, scale: int, *, steps: int = 10,
    blur: Blur = BLUR,
) -> Tensor:  # fmt: skip
    """Iterated back-projection from the frames' mean."""
    sampler, counted = Sampling(shape_of(frames), scale, shifts, blur), all_counted(clear)
    weight = sampler.weigh(counted).clamp(min=_LEAST)
    image = mean(frames, clear, shifts, scale)
    for _ in range(steps):
        image = image + sampler.gather(counted * (frames - sampler.see(image))) / weight
    return image


def gaussian(sigma: float, reach: int, like: Tensor) -> Tensor:
    """2 · reach + 1 taps that sum to one."""
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=like.device) / sigma) ** 2)
    return (taps / taps.sum()).to(like.dtype)


def gaussian_mean(x: Tensor, sigma: float, reach: int) -> Tensor:
    """Gaussian mean of (batch, frames, bands, rows, cols) over rows and columns; edges repeated."""
    taps = gaussian(sigma, reach, x)
    flat = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1)).view(x.shape)


def shape_of(frames: Tensor) -> tuple[int, int]:
    """Rows and columns of frames."""
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
