"""SSPSR: groups of neighbouring bands, each enlarged a part of the way, then all bands at once.

Jiang, Sun, Liu, Ma, "Learning spatial-spectral prior for super-resolution of hyperspectral
imagery", IEEE TCI 6 (2020). Reference repository: junjun-jiang/SSPSR (no licence: facts only).

    cube ─┬─ groups of 8 bands, 2 in common ─ [branch, ↑ s/2] ─ means where they overlap ─ trunk ↑2 ─ + ─ conv ─ +
          ├─ bicubic ↑s ─ conv ────────────────────────────────────────────────────────────────────────┘        │
          └─ bicubic ↑s ────────────────────────────────────────────────────────────────────────────────────────┘
    branch, trunk:  conv ─┬─ 3 × [spatial, spectral] ─ + ─ sub-pixel ↑ (─ conv of the branch)
                          └────────────────────────────┘
    spatial:        x + 0.1 · conv ReLU conv
    spectral:       x + 0.1 · (1 × 1, ReLU, 1 × 1) weighed by their means over the window

One branch serves all groups. Convolutions are 3 × 3 with zero padding unless said. Of a scale s the
trunk takes the smallest prime factor and the branch the others. The last skip, and the last
convolution being zero at first, are ours: the net begins as interpolation.
"""  # noqa: E501 - the picture

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Residual, Skip, factors, upsampler
from geosr.models.nets.single.groups import groups, joined
from geosr.models.nets.single.rcan import ChannelAttention

_SHARE = 0.1


class _Spectral(nn.Module):
    """x + 0.1 · two 1 × 1 convolutions, weighed by feature."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, features, 1), nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 1), ChannelAttention(features),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + _SHARE * self.layers(x)


def _unit(bands: int, features: int, blocks: int, scale: int) -> list[nn.Module]:
    """Layers of a branch without its last one, which are those of the trunk."""
    body = (layer for _ in range(blocks) for layer in (Residual(features, _SHARE),
                                                       _Spectral(features)))  # fmt: skip
    return [_conv(bands, features), Skip(*body), upsampler(features, scale)]


class SSPSR(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        group: bands in a group, as many as there are at most.
        overlap: bands that neighbouring groups have in common.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 256, blocks: int = 3, group: int = 8,
        overlap: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale = scale
        self.groups = groups(bands, group, overlap)
        one = self.groups[0].stop
        last, *others = factors(scale)
        self.branch = nn.Sequential(
            *_unit(one, features, blocks, math.prod(others)), _conv(features, one)
        )
        self.trunk = nn.Sequential(*_unit(bands, features, blocks, last))
        self.skip = _conv(bands, features)
        self.tail = _conv(features, bands)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        raised = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        parts = [self.branch(x[:, place]) for place in self.groups]
        y = self.trunk(joined(parts, self.groups))  # (batch, features, s·rows, s·cols)
        detail = self.tail(y + self.skip(raised))
        with torch.autocast(x.device.type, enabled=False):  # the image keeps its precision
            return raised + detail.to(raised.dtype)


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def build(card: ModelCard) -> SSPSR:
    """The untrained net of a card."""
    return SSPSR(len(card.bands), card.scale, **card.options)


# The spectral weights are told by the whole window, so tiles blend.
DESIGNS = (
    Design("sspsr", "sisr", "sspsr", build, dict.fromkeys((2, 3, 4, 5, 6, 8), 24), 4,
           "Jiang et al., IEEE TCI 6 (2020)", blend=8,
           options={"features": 256, "blocks": 3, "group": 8, "overlap": 2},
           recipe=Recipe("l1+0.001*tv+0.001*spectral-tv", patch=16, batch_size=4, lr=3e-4),
           paper=Recipe("l1+0.001*tv+0.001*spectral-tv", 16, 32, 100_000, "adam", 1e-4,
                        schedule="step", period=75_000, gamma=0.1, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
