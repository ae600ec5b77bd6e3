"""DMCN: an hourglass at the fine size, with what each depth remembers joined on the way back.

Xu, Xu, Wei, Gu, "Remote sensing image super-resolution via deep memory connected network", IEEE
Geosci. Remote Sens. Lett. (2018); layers by its reference repository's models.py, which has no
licence: facts alone are taken from there.

    image ─ bicubic ×s ─┬─ conv PReLU ─ 4 × [conv PReLU] ─┬──────────── join ─ 5 × [+] ─ conv ─ +
                        │                            ½ conv               │                     │
                        │                                 └ 5 × [one] ─┬─ join ─ 2 × [+] ─ up   │
                        │                                         ½ conv  │                     │
                        │                                              └ 2 × [one] ─ up         │
                        └───────────────────────────────────────────────────────────────────────┘
    join  concat ─ 1 × 1
    one   x + PReLU(conv(x))            up   conv ─ PReLU ─ pixel shuffle 2
    +     x + conv(PReLU(conv(x)))

Convolutions are 3 × 3 with zero padding, the first and the last without bias; a PReLU has one
slope, and the first five share theirs. The reference normalises batches after every convolution;
geosr's does not, as its training windows are few at a time. Images are mirrored at their end to
multiples of four fine pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.padding import whole
from geosr.models.nets.single.edsr import Skip


def _conv(narrow: int, wide: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, stride, 1)


def _single(features: int) -> Skip:
    return Skip(_conv(features, features), nn.PReLU())


def _double(features: int) -> Skip:
    return Skip(_conv(features, features), nn.PReLU(), _conv(features, features))


def _up(features: int) -> nn.Sequential:
    return nn.Sequential(_conv(features, 4 * features), nn.PReLU(), nn.PixelShuffle(2))


class DMCN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(self, bands: int, scale: int, *, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(bands, features, 3, padding=1, bias=False)
        self.slope = nn.PReLU()
        self.finest = nn.ModuleList(_conv(features, features) for _ in range(4))
        self.down = nn.ModuleList(_conv(features, features, 2) for _ in range(2))
        self.at_half = nn.Sequential(*(_single(features) for _ in range(5)))
        self.at_quarter = nn.Sequential(*(_single(features) for _ in range(2)))
        self.up = nn.ModuleList(_up(features) for _ in range(2))
        self.merge = nn.ModuleList(nn.Conv2d(2 * features, features, 1) for _ in range(2))
        self.half_back = nn.Sequential(*(_double(features) for _ in range(2)))
        self.back = nn.Sequential(*(_double(features) for _ in range(5)))
        self.tail = nn.Conv2d(features, bands, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        rows, cols = x.shape[-2:]
        y = self.slope(self.head(whole(x, 4)))
        for conv in self.finest:
            y = self.slope(conv(y))
        half = self.at_half(self.down[0](y))
        quarter = self.at_quarter(self.down[1](half))
        half = self.merge[0](torch.cat([self.up[0](quarter), half], 1))
        y = self.merge[1](torch.cat([self.up[1](self.half_back(half)), y], 1))
        return x + self.tail(self.back(y))[..., :rows, :cols]


def build(card: ModelCard) -> DMCN:
    """The untrained net of a card."""
    return DMCN(len(card.bands), card.scale, **card.options)


# It sees 54 fine pixels far, but which four pixels halving brings together hangs on where a tile
# starts: tiles blend, and read those 54. Published: fine windows of 41 pixels, a tenth of the rate
# after 10 and 20 of 50 epochs.
DESIGNS = (
    Design("dmcn", "sisr", "dmcn", build, {2: 30, 3: 20, 4: 16, 8: 9}, 2,
           "Xu et al., IEEE GRSL (2018)", blend=8,
           options={"features": 64},
           recipe=Recipe(patch=24, batch_size=4),
           paper=Recipe("mse", 20, 128, 50_000, "adam", 1e-3, schedule="step", period=10_000,
                        gamma=0.1, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
