"""RSI-Net: a nested U on the fine grid, whose every level is brought back up and joined.

Feng et al., "A deep multitask convolutional neural network for remote sensing image
super-resolution and colorization", IEEE TGRS 60 (2022). Reference repository: EricBrock/RSI-Net
(no licence: facts only).

    image ─ branches ─ branches ─ stages ─ y₀₀
    y₀₀ ─ down ─ y₁₀ ─ down ─ y₂₀ ─ down ─ y₃₀ ─ down ─ y₄₀      level i has i + 1 maps, and each
           up │      up │      up │      up │                   is halved once less than the one
             y₁₁ ────  y₂₁ ────  y₃₁ ────  y₄₁                  before: y₄₄ is as fine as y₀₀
    yᵢⱼ₊₁ = up(yᵢⱼ) + attention(y) + y, y the map of that size of the level before;   y₄₄ ─ conv

    branches   3 × 3 | two | three | 1 × 1 after 1 × 1 each, joined by 1 × 1; but in the first,
               a layer is added to what it reads
    stage      convolution to 4 × features, pixel shuffle ×2, ReLU
    down       3 × 3, involution of stride 2, 1 × 1
    up         one, two and three 3 × 3 of the map, its half and its quarter, joined; shuffle ×2
    attention  channels' and pixels', each by themselves and one after the other, added up

A level has 32 features more than the one before, from 128; activations are Mish unless said. The
involution (Li et al., CVPR 2021) weighs 3 × 3 pixels by numbers told from their mean, 16 features
alike. In ×4 14,613,276 numbers for three bands; the reference has three last convolutions more,
which it does not use, 14,623,644.

Two things are not as there: no Mish follows the last convolution (its values are counts of 255,
which Mish leaves nearly as they are; unit values it would bend), and bilinear interpolation is
added, so that an untrained net begins there. Its colourisation is the same net at scale 1, which
`spectral-rgb` stands for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.padding import whole

_NARROW = 32  # features between the two first blocks
_LANE = 16  # features of a branch on the way up
_ALIKE = 16  # features that an involution weighs alike
_SQUEEZE = 16  # the channel attention's middle is that much narrower
_TIMES = (1, 2, 4)  # sizes that a map on the way up is looked at


class _Lane(nn.Module):
    """A 1 × 1 convolution and convolutions of those sides, each added to what it reads."""

    def __init__(self, narrow: int, wide: int, sides: Sequence[int], *, added: bool = True) -> None:
        super().__init__()
        self.added = added
        self.first = nn.Conv2d(narrow, wide, 1)
        self.rest = nn.ModuleList(nn.Conv2d(wide, wide, s, padding=s // 2) for s in sides)

    def forward(self, x: Tensor) -> Tensor:
        x = F.mish(self.first(x))
        for conv in self.rest:
            y = F.mish(conv(x))
            x = x + y if self.added else y
        return x


class _Branches(nn.Module):
    """Lanes side by side, joined by a 1 × 1 convolution to as many features as one has."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.lanes = nn.ModuleList([
            _Lane(narrow, wide, (3,), added=False), _Lane(narrow, wide, (3, 3)),
            _Lane(narrow, wide, (3, 3, 3)), _Lane(narrow, wide, (1,)),
        ])  # fmt: skip
        self.join = nn.Conv2d(4 * wide, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.join(torch.cat([lane(x) for lane in self.lanes], 1)))


class _Involution(nn.Module):
    """Halves (batch, features, rows, cols) by sums of 3 × 3 pixels whose weights are told there."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.groups = features // _ALIKE
        self.weights = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(features, features // 4, 1, bias=False),
            nn.BatchNorm2d(features // 4),
            nn.ReLU(),
            nn.Conv2d(features // 4, 9 * self.groups, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        by: Tensor = self.weights(x)
        rows, cols = by.shape[-2:]
        by = by.view(len(x), self.groups, 1, 9, rows, cols)
        near = F.unfold(x, 3, padding=1, stride=2)
        near = near.view(len(x), self.groups, _ALIKE, 9, rows, cols)
        return (by * near).sum(3).flatten(1, 2)


class _Up(nn.Module):
    """What lanes find in a map, its half and its quarter; pixel shuffle to twice the size."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.lanes = nn.ModuleList(_Lane(narrow, _LANE, (3,) * n) for n in (1, 2, 3))
        self.join = nn.Conv2d(3 * _LANE, wide, 1)
        self.sizes = nn.Conv2d(len(_TIMES) * wide, wide, 1)
        self.enlarge = nn.Conv2d(wide, 4 * wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-2:]
        found = torch.cat([_resized(self._at(x, times), side) for times in _TIMES], 1)
        fine = F.pixel_shuffle(self.enlarge(F.mish(self.sizes(found))), 2)
        return F.mish(F.mish(fine))  # twice, as in the reference

    def _at(self, x: Tensor, times: int) -> Tensor:
        x = _resized(x, [max(side // times, 1) for side in x.shape[-2:]])
        return F.mish(self.join(torch.cat([lane(x) for lane in self.lanes], 1)))


class _Channels(nn.Module):
    """x by one number per feature, told from its mean and its largest over the whole window."""

    def __init__(self, features: int) -> None:
        super().__init__()
        narrow = features // _SQUEEZE
        self.layers = nn.Sequential(
            nn.Conv2d(features, narrow, 1, bias=False), nn.ReLU(),
            nn.Conv2d(narrow, features, 1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        mean, most = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * (self.layers(mean) + self.layers(most)).sigmoid()


class _Pixels(nn.Module):
    """x by one number per pixel, told from the features' mean and largest around it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        told = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.conv(told).sigmoid()


class _Attention(nn.Module):
    """Channels and pixels, both of each other and of themselves, added up."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = nn.ModuleList(_Channels(features) for _ in range(2))
        self.pixels = nn.ModuleList(_Pixels() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        first = [self.channels[0](x), self.pixels[0](x)]
        parts = [second[1](y) for second in (self.channels, self.pixels) for y in first]
        return torch.stack(parts).sum(0)


class _Level(nn.Module):
    """One way down from the level before and all the way up again, widths coarsest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        wide, narrow = widths[:2]
        self.down = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, padding=1), nn.Mish(), _Involution(wide), nn.Mish(),
            nn.Conv2d(wide, wide, 1), nn.Mish(),
        )  # fmt: skip
        pairs = list(pairwise(widths))
        self.ups = nn.ModuleList(_Up(*pair) for pair in pairs)
        self.attention = nn.ModuleList(_Attention(narrow) for _, narrow in pairs)

    def forward(self, before: list[Tensor]) -> list[Tensor]:
        maps = [self.down(before[0])]
        for up, attention, y in zip(self.ups, self.attention, before, strict=True):
            maps.append(up(maps[-1]) + attention(y) + y)
        return maps


class RSINet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: of the finest maps, a multiple of 16.
        growth: features that a level has more, a multiple of 16.
        depth: levels; the coarsest map is 2^depth times coarser than the output.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 128, growth: int = 32, depth: int = 4
    ) -> None:
        super().__init__()
        self.scale = scale
        self.blocks = 2**depth // gcd(2**depth, scale)  # of input pixels, that levels fit
        self.head = nn.Sequential(_Branches(bands, _NARROW), _Branches(_NARROW, features))
        stages: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            conv = nn.Conv2d(features, 4 * features, 3, padding=1, bias=False)
            stages += [conv, nn.PixelShuffle(2), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        widths = [features + growth * i for i in range(depth + 1)]
        self.levels = nn.ModuleList(_Level(widths[i::-1]) for i in range(1, depth + 1))
        self.tail = nn.Conv2d(features, bands, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = (self.scale * side for side in x.shape[-2:])
        x = whole(x, self.blocks)
        maps = [self.stages(self.head(x))]
        for level in self.levels:
            maps = level(maps)
        skip = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return (skip + self.tail(maps[-1]))[..., :rows, :cols]


def _resized(x: Tensor, side: Sequence[int]) -> Tensor:
    if list(x.shape[-2:]) == list(side):
        return x
    return F.interpolate(x, size=list(side), mode="bilinear", align_corners=False)


def build(card: ModelCard) -> RSINet:
    """The untrained net of a card."""
    return RSINet(len(card.bands), card.scale, **card.options)


# The channels' attention sees the whole window: tiles blend. Published: 50 epochs of 31,500 images
# of NWPU-RESISC45, batches of four, values to 255.
DESIGNS = (
    Design("rsi-net", "sisr", "rsinet", build, {2: 24, 4: 12, 8: 6}, 4,
           "Feng et al., IEEE TGRS 60 (2022)", blend=6, tile=48,
           options={"features": 128, "growth": 32, "depth": 4},
           recipe=Recipe(patch=16, batch_size=2, lr=1e-4),
           paper=Recipe("l1", 64, 4, 393_750, "adam", 1e-4, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
