"""DDRN: blocks of three lanes that are all joined to each other, for a satellite video's frames.

Jiang, Wang, Yi, Jiang, Xiao, Yao, "Deep distillation recursive network for remote sensing imagery
super-resolution", Remote Sensing 10 (2018). Reference repository: its DDRN_15_X4.py, which has no
licence: facts alone are taken from there, of the variant that distils nothing.

    image ─┬─ conv ─ conv ─ 15 × [block] ─ conv ─ shuffle 2 ─ conv ─ conv ─ shuffle 2 ─ + ─
           │   128    96                   64                  64    4·bands            │
           └──────────────────────────── bicubic ×s ────────────────────────────────────┘

    block   a = conv(x), b = conv(a), c = conv(a); three lanes of [a, b, c]; twice: for each lane i
            r = 1 × 1 (lane), d = conv(r), lane = [r, d of all lanes]; x + 1 × 1 of the last d's

A PReLU with a slope per feature, 0 at first, follows each convolution but the last. Convolutions
are 3 × 3 with zero padding where nothing is said, 64 wide in a block. × 2 and × 3 shuffle once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_LANES = 3


def _layer(narrow: int, wide: int, side: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(narrow, wide, side, padding=side // 2)
    return nn.Sequential(conv, nn.PReLU(wide, init=0.0))


class _Round(nn.Module):
    """Lanes, each made of its own features and of what all others make of theirs."""

    def __init__(self, narrow: int, features: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(_layer(narrow, features, 1) for _ in range(_LANES))
        self.make = nn.ModuleList(_layer(features, features) for _ in range(_LANES))

    def forward(self, lanes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(the lanes, what they made)."""
        own = [reduce(lane) for reduce, lane in zip(self.reduce, lanes, strict=True)]
        made = [make(x) for make, x in zip(self.make, own, strict=True)]
        return [torch.cat([x, *made], 1) for x in own], made


class _Block(nn.Module):
    def __init__(self, wide: int, features: int) -> None:
        super().__init__()
        self.first = _layer(wide, features)
        self.beside = nn.ModuleList(_layer(features, features) for _ in range(2))
        inside = _LANES * features
        self.rounds = nn.ModuleList([_Round(inside, features), _Round(inside + features, features)])
        self.last = _layer(inside, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        lanes = [torch.cat([a, *(layer(a) for layer in self.beside)], 1)] * _LANES
        for each in self.rounds:
            lanes, made = each(lanes)
        return x + self.last(torch.cat(made, 1))


class DDRN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: inside a block; twice as many in the first convolution, 3/2 between the blocks.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 15) -> None:
        super().__init__()
        self.scale = scale
        wide, last = features * 3 // 2, 2 if scale == 4 else scale
        self.head = nn.Sequential(_layer(bands, 2 * features), _layer(2 * features, wide))
        self.body = nn.Sequential(*(_Block(wide, features) for _ in range(blocks)))
        tail: list[nn.Module] = [_layer(wide, features)]
        if scale == 4:
            tail += [nn.PixelShuffle(2), _layer(features // 4, features)]
        tail += [nn.Conv2d(features, last**2 * bands, 3, padding=1), nn.PixelShuffle(last)]
        self.tail = nn.Sequential(*tail)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return skip + self.tail(self.body(self.head(x)))  # (batch, bands, s·rows, s·cols)


def build(card: ModelCard) -> DDRN:
    """The untrained net of a card."""
    return DDRN(len(card.bands), card.scale, **card.options)


# Published: Charbonnier's loss, the rate halved every 10,000 steps, continuously, down to 1e-5.
DESIGNS = (
    Design("ddrn", "sisr", "ddrn", build, {2: 64, 3: 64, 4: 64}, 4,
           "Jiang et al., Remote Sensing 10 (2018)",
           options={"features": 64, "blocks": 15},
           recipe=Recipe(patch=16, batch_size=4, lr=2e-4),
           paper=Recipe("charbonnier", 32, 16, 100_000, "adam", 1e-3, schedule="step",
                        period=10_000, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
