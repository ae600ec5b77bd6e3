"""MSTT-STVSR: frames made finer, and the frames between them, by attention in space and time.

Xiao, Yuan, He, Zhang, Sun, Su, Wu, Zhang, "Space-time super-resolution for satellite video: a joint
framework based on multi-scale spatial-temporal transformer", International Journal of Applied Earth
Observation and Geoinformation 108 (2022). Reference repository: XY-boy/MSTT-STVSR, without a
licence: facts alone are taken from there.

    frames 1, 3, 5, 7 ─ conv ─ 5 × [conv ReLU conv +] ─ features 1, 3, 5, 7
    2 of 1 and 3: [1 aligned to 3, 3 moved to 2] ─ conv 1 × 1 ─┐
                  [1 moved to 2,   3 moved to 2] ─ conv 1 × 1 ─┴─ conv 1 × 1; likewise 4 and 6
    all seven ─┬─ half as large ─ attention + ─ convolutions + ─ as large ─ tanh ─ +
               └────────────────────────────────────────────────────────────────┘
    the one that is wanted ─ 20 × [conv ReLU conv +] ─ conv, shuffle ─ conv ─ conv ─ image

    attention   every head cuts its features of all seven frames into squares of its own side, 40,
                20, 10 or 5 pixels, and every square looks at all of them

Published, frames are moved by an optical flow, by the whole way from one to the next; here by half
the way that the registration found, which is the same for every pixel. The published code adds the
map before attention a second time; here it is added once. Sides that the squares do not divide are
filled up by repeating the edge. There is no skip past the net; `mstt-stvsr-s` has one, is narrower,
and cuts squares of 12, 6 and 3 pixels. How long the net was trained is not told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.multi.fusion import enlarged
from geosr.models.nets.multi.video import Alignment
from geosr.models.nets.single.edsr import Residual, upsampler

_FRAMES = 4
_TIMES = (0.0, -1.0, 1.0, 2.0)  # of the frames around one, nearest first


def _conv(narrow: int, wide: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution 3 × 3 and a leaky ReLU."""
    conv = nn.Conv2d(narrow, wide, 3, stride, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.LeakyReLU(0.2))


def _squares(x: Tensor, count: int, side: int) -> Tensor:
    """(batch · count, f, rows, cols) to (batch, count · squares, f · side²)."""
    features, rows, cols = x.shape[1:]
    x = x.view(-1, count, features, rows // side, side, cols // side, side)
    return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)


def _back(x: Tensor, count: int, side: int, shape: Sequence[int]) -> Tensor:
    """What `_squares` made, as it was: (batch · count, f, rows, cols)."""
    features, rows, cols = shape
    x = x.view(-1, count, rows // side, cols // side, features, side, side)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, features, rows, cols)


class _Attention(nn.Module):
    """x + convolution(attention between squares of `count` frames), then x + convolutions(x)."""

    def __init__(self, features: int, sides: Sequence[int], count: int) -> None:
        super().__init__()
        self.sides, self.count = tuple(sides), count
        self.qkv = nn.Conv2d(features, 3 * features, 1)
        self.join = _conv(features, features)
        self.forth = nn.Sequential(_conv(features, features, dilation=2), _conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        heads = len(self.sides)
        q, k, v = (part.chunk(heads, 1) for part in self.qkv(x).chunk(3, 1))
        seen = []
        for head, side in enumerate(self.sides):
            a, b, c = (_squares(each[head], self.count, side).unsqueeze(1) for each in (q, k, v))
            found = F.scaled_dot_product_attention(a, b, c).squeeze(1)
            seen.append(_back(found, self.count, side, q[head].shape[1:]))
        x = x + self.join(torch.cat(seen, 1))
        y: Tensor = x + self.forth(x)
        return y


class _Transformer(nn.Module):
    """What attention adds to (batch, count, features, rows, cols), of any size."""

    def __init__(self, features: int, wide: int, sides: Sequence[int], count: int) -> None:
        super().__init__()
        self.multiple = 2 * math.lcm(*sides)
        self.down = nn.Sequential(
            _conv(features, features), _conv(features, wide // 2, 2), _conv(wide // 2, wide)
        )
        self.attention = _Attention(wide, sides, count)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _conv(wide, wide // 2), _conv(wide // 2, features), _conv(features, features),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        flat = F.pad(
            x.flatten(0, 1), (0, -cols % self.multiple, 0, -rows % self.multiple), mode="replicate"
        )
        y: Tensor = self.up(self.attention(self.down(flat)))
        return torch.tanh(y[..., :rows, :cols]).view_as(x)


class MSTTSTVSR(nn.Module):
    """The net; unit values in and out, four frames, the nearest in time first.

    Maps frames (batch, 4, bands, rows, cols), where they are clear (batch, 4, 1, rows, cols), and
    their places (batch, 4, 3): rows and columns, coarse pixels, and time, frames, from the place
    and time of what comes out, (batch, bands, scale · rows, scale · cols). Times may be left out,
    of a frame itself. Unclear pixels are taken from the nearest frame in time before the net sees
    them.

    Args:
        wide: features of the attention.
        side, heads: the first head's squares, on a grid half as fine as a frame's; those of each
            other head are half as large as those of the one before.
        front, blocks: residual blocks before attention and behind it.
        skip: add the nearest frames' bicubic mean, which the net begins as: it learns sooner.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, wide: int = 256, side: int = 40,
        heads: int = 4, front: int = 5, blocks: int = 20, skip: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale, self.skip = scale, skip
        self.each = nn.Sequential(
            nn.Conv2d(bands, features, 3, padding=1), nn.LeakyReLU(0.1),
            *(Residual(features) for _ in range(front)),
        )  # fmt: skip
        self.align = Alignment(features)
        self.fuse = nn.Conv2d(2 * features, features, 1)
        self.blend = nn.Conv2d(2 * features, features, 1)
        if wide % heads or side % 2 ** (heads - 1):
            raise ValueError(f"{heads} heads of {wide} features halve squares of {side} pixels")
        sides = [side >> head for head in range(heads)]
        self.transformer = _Transformer(features, wide, sides, 2 * _FRAMES - 1)
        self.tail = nn.Sequential(
            *(Residual(features) for _ in range(blocks)),
            upsampler(features, scale, lambda: nn.LeakyReLU(0.1)),
            nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.last = nn.Conv2d(features, bands, 3, padding=1)
        if skip:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, clear: Tensor, shifts: Tensor) -> Tensor:
        frames, shifts = mended(frames, clear), shifts.float()
        places = shifts[..., :2]
        times = shifts[..., 2] if shifts.shape[-1] > 2 else shifts.new_tensor(_TIMES).expand_as(
            shifts[..., 0])  # fmt: skip
        order = times.argsort(1)
        ordered = frames.gather(1, order[..., None, None, None].expand_as(frames))
        seven = self._seven(ordered, places.gather(1, order[..., None].expand_as(places)))
        seven = seven + self.transformer(seven)
        wanted = (-2 * times.amin(1)).round().long()
        x = seven.gather(1, wanted.view(-1, 1, 1, 1, 1).expand_as(seven[:, :1])).squeeze(1)
        image: Tensor = self.last(self.tail(x))
        return image.float() + self._near(frames, places, times) if self.skip else image

    def _seven(self, frames: Tensor, places: Tensor) -> Tensor:
        """Features of frames in their order, and between each two: (batch, 7, features, …)."""
        each = self.each(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        seven = [each[:, 0]]
        for (one, at), (other, its) in pairwise(zip(each.unbind(1), places.unbind(1), strict=True)):
            half = (its - at) / 2
            both = torch.stack([one, other], 1).float()
            moved = enlarged(both, 1, torch.stack([-half, half], 1)).to(one.dtype)
            ahead = self.fuse(torch.cat([self.align(one, other), moved[:, 1]], 1))
            middle = self.fuse(moved.flatten(1, 2))
            seven += [self.blend(torch.cat([ahead, middle], 1)), other]
        return torch.stack(seven, 1)

    def _near(self, frames: Tensor, places: Tensor, times: Tensor) -> Tensor:
        """The nearest frame, or the nearest two's mean, by cubic convolution on the fine grid."""
        near = (times.abs() <= times.abs().amin(1, keepdim=True)).float()
        up = enlarged(frames.float(), self.scale, places)
        weights = (near / near.sum(1, keepdim=True))[..., None, None, None]
        return (weights * up).sum(1)


def build(card: ModelCard) -> MSTTSTVSR:
    """The untrained net of a card."""
    return MSTTSTVSR(len(card.bands), card.scale, **card.options)


# Attention sees the whole window, so tiles agree by blending. 2,647 clips make an epoch.
_SIZES: dict[str, tuple[dict[str, Any], Recipe]] = {
    "mstt-stvsr": (
        {"features": 64, "wide": 256, "side": 40, "heads": 4, "front": 5, "blocks": 20,
         "skip": False},
        Recipe("charbonnier", 80, 1, lr=1e-4),
    ),
    "mstt-stvsr-s": (
        {"features": 32, "wide": 96, "side": 12, "heads": 3, "front": 3, "blocks": 6, "skip": True},
        Recipe(patch=24, batch_size=4, lr=5e-4),
    ),
}  # fmt: skip
DESIGNS = tuple(
    Design(name, "misr", "mstt-stvsr", build, {2: 24, 3: 24, 4: 24}, 4,
           "Xiao et al., JAG 108 (2022)", frames=_FRAMES, blend=8, tile=160, shifts=True,
           video=True, between=True, options=options, recipe=recipe,
           paper=Recipe("charbonnier", 80, 1, 264_700, "adam", 1e-5, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0))
    for name, (options, recipe) in _SIZES.items()
)  # fmt: skip
