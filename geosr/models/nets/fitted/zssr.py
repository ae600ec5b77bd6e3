"""ZSSR: eight convolutions that learn on the image itself what interpolation misses.

Shocher, Cohen, Irani, "Zero-shot super-resolution using deep internal learning", CVPR 2018.
Reference repository: assafshocher/ZSSR.

    image ─ bicubic ×s ─┬─ 7 × [conv ReLU] ─ conv ─ + ─ projection ─
                        └───────────────────────────┘

Every convolution is 3 × 3 with zero padding, at the fine size. The projection is the limit of the
reference's back-projections in one step (`projection`), and the net learns through it: it learns
what the image does not tell by its point spread. It begins at the projection of the interpolated
image, for its last convolution begins at zero.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.fitted.projection import Projection


class ZSSR(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        depth: convolutions in all.

    Attributes:
        middle, spread: mean and deviation of the scene, which the convolutions see without them.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, bands: int, scale: int, *, features: int = 64, depth: int = 8) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for narrow in [bands] + [features] * (depth - 2):
            layers += [nn.Conv2d(narrow, features, 3, padding=1), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, bands, 3, padding=1))
        self.projection = Projection(scale)
        self.register_buffer("middle", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        fine = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        missing = self.body((fine - self.middle) / self.spread) * self.spread
        return self.projection(fine + missing, x)  # (batch, bands, s·rows, s·cols)

    def begin(self, rng: np.random.Generator, *, middle: float, spread: float) -> None:
        """Draw the weights: He's initialisation, the last convolution zero."""
        self.middle.fill_(middle)
        self.spread.fill_(spread)
        convs = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        with torch.no_grad():
            for conv in convs:
                deviation = math.sqrt(2 / conv.weight[0].numel())
                drawn = rng.normal(0, deviation, tuple(conv.weight.shape)).astype(np.float32)
                conv.weight.copy_(torch.from_numpy(drawn))
                assert conv.bias is not None
                conv.bias.zero_()
            convs[-1].weight.zero_()


def build(card: ModelCard) -> ZSSR:
    """The net of a card, before or after it has learned."""
    return ZSSR(len(card.bands), card.scale, **card.options)


# Published: Adam 1e-3, lowered as the error stops to fall, up to 5000 steps of one crop of 128.
DESIGNS = (
    Design("zssr", "fits", "zssr", build, {2: 16, 3: 14, 4: 14}, 2, "Shocher et al., CVPR 2018",
           options={"features": 64, "depth": 8},
           recipe=Recipe(patch=48, batch_size=4, steps=200, optimizer="adam", lr=1e-3, warmup=20,
                         ema=0.0),
           paper=Recipe(patch=64, batch_size=1, steps=5000, optimizer="adam", lr=1e-3, warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
