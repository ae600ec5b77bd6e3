"""CARN: residual units that cascade, in blocks that cascade; one net per scale.

Ahn, Kang, Sohn, "Fast, accurate, and lightweight super-resolution with cascading residual
network", ECCV 2018. Reference repository: nmhkahn/CARN-pytorch.

    image − mean ─ conv ─ cascade of 3 × (cascade of 3 units) ─ upsampler ReLU ─ conv ─ + mean

    cascade:
    x ─┬─ part ─ concat ─┬─ 1 × 1 ReLU ─ part ─ concat ─┬─ 1 × 1 ReLU ─ part ─ concat ─ 1 × 1 ReLU
       └───────────┘     └─────────────────────┘        └─────────────────────┘

    unit:  ReLU(x + conv(ReLU(conv(x))))

What is concatenated grows: the cascade's input and the outputs of all its parts so far.
Convolutions are 3 × 3 with zero padding but for the 1 × 1 ones. The mean is taken off and put back
by 1 × 1 convolutions that are not trained, counted among the parameters as the published numbers
do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Residual, mean_of, upsampler


class _Shift(nn.Conv2d):
    """x + sign · mean of each band, in full precision and never trained."""

    def __init__(self, bands: int, sign: int) -> None:
        super().__init__(bands, bands, 1)
        self.weight.data = torch.eye(bands).view(bands, bands, 1, 1)
        self.bias = nn.Parameter(sign * mean_of(bands).flatten())
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class _Unit(Residual):
    """A residual block with an activation after the sum."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class _Cascade(nn.Module):
    """Parts one after the other; after each, a 1 × 1 convolution over all there is so far."""

    def __init__(self, features: int, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.merge = nn.ModuleList(
            nn.Conv2d((i + 2) * features, features, 1) for i in range(len(self.parts))
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for part, merge in zip(self.parts, self.merge, strict=True):
            seen = torch.cat([seen, part(x)], 1)  # (batch, (i + 2) · features, rows, cols)
            x = F.relu(merge(seen))
        return x


class CARN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        blocks: cascades in the net.
        units: residual units in each.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 3, units: int = 3
    ) -> None:
        super().__init__()
        self.center = _Shift(bands, -1)
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = _Cascade(
            features,
            (_Cascade(features, (_Unit(features) for _ in range(units))) for _ in range(blocks)),
        )
        self.up = upsampler(features, scale, nn.ReLU)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)
        self.restore = _Shift(bands, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.body(self.head(self.center(x))))  # (batch, features, s·rows, s·cols)
        return self.restore(self.tail(x))


def build(card: ModelCard) -> CARN:
    """The untrained net of a card."""
    return CARN(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("carn", "sisr", "carn", build, {2: 21, 3: 21, 4: 21, 8: 21}, 2, "Ahn et al., ECCV 2018",
           options={"features": 64, "blocks": 3, "units": 3},
           recipe=Recipe(patch=16),
           paper=Recipe("l1", 64, 64, 600_000, "adam", 1e-4, schedule="step", period=400_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
