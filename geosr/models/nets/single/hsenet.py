"""HSENet: at every pixel what the window has of its like, at its own size and at half of it.

Lei, Shi, "Hybrid-scale self-similarity exploitation for remote sensing image super-resolution",
IEEE Trans. Geosci. Remote Sens. 60 (2022). Reference repository: Shaosifan/HSENet.

    image − mean ─ conv ─┬─ 10 × [module] ─ + ─ upsampler ─ conv ─ + mean
                         └──────────────────┘
    module  ┬─ 2 × [conv ReLU] ─ hybrid ─ 2 × [conv ReLU] ─ + ─
            └───────────────────────────────────────────────┘
    hybrid  x ─┬─ self ────────────────── alike(x, half) ─ conv ReLU ─ + ─
               └─ bilinear ½ ─ self ─ bilinear ─┘
    self    conv ReLU ─┬─ 2 × [conv ReLU] ─────────── × ─ conv ReLU, + x
                       └─ alike(h, h) ─ 1 × 1 sigmoid ─┘
    alike   (x, q)  x + 1 × 1 of softmax(θ(q) · φ(x)) · g(x), over all pixels; 32 of 64 features

Every convolution is 3 × 3 with zero padding where nothing is said. What alike adds is 0 at first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Skip, mean_of, upsampler


def _layer(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.ReLU())


class _Alike(nn.Module):
    """x + what all its pixels give to each by how like they are to `query`'s pixel there."""

    def __init__(self, features: int) -> None:
        super().__init__()
        narrow = max(features // 2, 1)
        self.value, self.key, self.query = (nn.Conv2d(features, narrow, 1) for _ in range(3))
        self.back = nn.Conv2d(narrow, features, 1)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        q, k, v = self._flat(self.query, query), self._flat(self.key, x), self._flat(self.value, x)
        y = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.back(y.mT.reshape(len(x), -1, *x.shape[-2:]))

    @staticmethod
    def _flat(conv: nn.Conv2d, x: Tensor) -> Tensor:
        return conv(x).flatten(2).mT.contiguous()  # (batch, pixels, features / 2)


class _Self(nn.Module):
    """Features strengthened where the window has more of their like."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = _layer(features)
        self.main = nn.Sequential(_layer(features), _layer(features))
        self.alike = _Alike(features)
        self.gate = nn.Conv2d(features, features, 1)
        self.last = _layer(features)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        gate = torch.sigmoid(self.gate(self.alike(h, h)))
        return x + self.last(self.main(h) * gate)


class _Hybrid(nn.Module):
    """Pixels that look for their like at their own size as half the size tells them to."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fine, self.coarse = _Self(features), _Self(features)
        self.alike = _Alike(features)
        self.last = _layer(features)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        half = [max(side // 2, 1) for side in size]
        small = F.interpolate(x, size=half, mode="bilinear", align_corners=False)
        coarse = F.interpolate(self.coarse(small), size=size, mode="bilinear", align_corners=False)
        return x + self.last(self.alike(self.fine(x), coarse))


def _module(features: int) -> Skip:
    before, after = ([_layer(features), _layer(features)] for _ in range(2))
    return Skip(*before, _Hybrid(features), *after)


class HSENet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    mean: Tensor

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.Sequential(*(_module(features) for _ in range(blocks)))
        self.up = upsampler(features, scale)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        return self.tail(self.up(x + self.body(x))) + self.mean


def build(card: ModelCard) -> HSENet:
    """The untrained net of a card."""
    return HSENet(len(card.bands), card.scale, **card.options)


# Every pixel looks at the whole window: tiles blend, and are small, as the work grows with the
# square of their pixels. Published: 2000 epochs of UCMerced or AID, windows of 48 coarse pixels.
DESIGNS = (
    Design("hsenet", "sisr", "hsenet", build, {2: 16, 3: 16, 4: 16, 8: 16}, 4,
           "Lei and Shi, IEEE TGRS 60 (2022)", blend=8, tile=64,
           options={"features": 64, "blocks": 10},
           recipe=Recipe(patch=24, batch_size=2, lr=2e-4),
           paper=Recipe("l1", 48, 16, 130_000, "adam", 1e-4, schedule="step", period=98_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
