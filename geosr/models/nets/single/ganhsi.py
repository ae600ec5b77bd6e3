"""GAN-HSI-SR's generator: 3-D convolutions of a cube, whose bands are weighed.

"Generative adversarial network for hyperspectral images with band attention", by its published
reimplementation (no licence: facts only): layers and widths are that one's.

    cube ─ 1→32 ─┬─ 3 × [two convolutions, weighed by band, +] ─ conv ─ + ─ 32→1 ─┐
                 └──────────────────────────────────────────────────────┘         │
    ─ for every factor of s: [bicubic ↑, conv, LReLU] ─ the same conv ─ conv ─ + ─┘
    cube, bicubic ↑s ──────────────────────────────────────────────────────────┘
    weights of bands: means over the window, of each feature bands → 8 → bands, sigmoid

The cube is one feature and its bands a third axis; convolutions are 5 × 3 × 3 (bands, rows, cols)
with zero padding, leaky ReLUs have the slope 0.01. The skip over it all, and the last convolution
being zero at first, are ours: the net begins as interpolation. The adversarial part is
`--preset gan-hsi`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.guided.dsen2ps import raised
from geosr.models.nets.single.edsr import factors

_SLOPE = 0.01
_SIDES, _PADS = (5, 3, 3), (2, 1, 1)  # bands, rows, cols
_SQUEEZED = 8


class BandAttention(nn.Module):
    """x + two convolutions of it, each feature's bands weighed by their means over the window."""

    def __init__(self, bands: int, features: int) -> None:
        super().__init__()
        self.first = _conv(features, features)
        self.second = _conv(features, features)
        self.squeeze = nn.Linear(bands, _SQUEEZED, bias=False)
        self.excite = nn.Linear(_SQUEEZED, bands, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(_act(self.first(x)))
        means = y.mean((3, 4))  # (batch, features, bands)
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(means))))
        return x + y * weights[..., None, None]


class GANHSI(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(self, bands: int, scale: int, *, features: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.scale, self.factors = scale, factors(scale)
        self.head = _conv(1, features)
        self.body = nn.Sequential(*(BandAttention(bands, features) for _ in range(blocks)))
        self.after = _conv(features, features)
        self.narrow = _conv(features, 1)
        self.enlarged = _conv(1, 1)
        self.tail = _conv(1, 1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = _act(self.head(x.unsqueeze(1)))  # (batch, features, bands, rows, cols)
        y = self.narrow(y + self.after(self.body(y)))
        for factor in self.factors:
            y = _act(self.enlarged(raised(y.squeeze(1), factor).unsqueeze(1)))
        detail = self.tail(self.enlarged(y)).squeeze(1)  # (batch, bands, s·rows, s·cols)
        return raised(x, self.scale) + detail.to(x.dtype)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _conv(narrow: int, wide: int) -> nn.Conv3d:
    return nn.Conv3d(narrow, wide, _SIDES, padding=_PADS)


def build(card: ModelCard) -> GANHSI:
    """The untrained net of a card."""
    return GANHSI(len(card.bands), card.scale, **card.options)


# The weights of bands are told by the whole window, so tiles blend.
DESIGNS = (
    Design("gan-hsi", "sisr", "gan-hsi", build, dict.fromkeys((2, 3, 4, 5, 6, 8), 24), 4,
           "GAN with band attention for hyperspectral images, a reimplementation", blend=8,
           options={"features": 32, "blocks": 3},
           recipe=Recipe("l1+0.01*sam", patch=16, batch_size=2, lr=1e-3),
           paper=Recipe("l1+0.01*sam", 36, 16, 30_000, "adam", 1e-3, schedule="constant",
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
