"""EEGAN's generator: a densely joined net, whose edges a second one cleans on the fine grid.

Jiang et al., "Edge-enhanced GAN for remote sensing image superresolution", IEEE TGRS 2019.
Reference repository: kuijiang94/EEGAN (no licence: facts only).

    image ─┬─ 2 conv ─ 6 × lanes ─ stages ─ conv ─ + ─ base ─┬───────────────────── − ─ + ─
           └──────────────── bicubic ×4 ───────────┘         └─ Laplacian = edges ──┘   │
    edges ─ 6 conv, to a quarter ─┬─ 3 × lanes ─ conv = f ─ f + m·f ─ conv ─ stages ─ conv
                                  └─ 3 conv ─ sigmoid = m ──────┘
    lanes:  three features side by side; 3 × [conv each, then 1 × 1 of all and itself]; x + conv

Every convolution is 3 × 3 with zero padding unless said; leaky ReLUs have the slope 0.2. A stage
is a convolution to 256, pixel shuffle ×2 and a leaky ReLU. 7,395,078 numbers for three bands. It
comes in ×4 only, whose two halvings bring the edges back to the coarse grid. Its discriminator
judged the base image there; here it judges the output.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_SLOPE = 0.2
_LANES = 3


class _Turn(nn.Module):
    """A convolution of every lane, then a 1 × 1 convolution of all of them and the lane itself."""

    def __init__(self, features: int) -> None:
        super().__init__()
        wide = (_LANES + 1) * features
        self.convs = nn.ModuleList(_conv(features, features) for _ in range(_LANES))
        self.joins = nn.ModuleList(nn.Conv2d(wide, features, 1) for _ in range(_LANES))

    def forward(self, lanes: list[Tensor]) -> list[Tensor]:
        new = [_act(conv(lane)) for conv, lane in zip(self.convs, lanes, strict=True)]
        return [
            _act(join(torch.cat([*new, lane], 1)))  # (batch, 4 · features, rows, cols)
            for join, lane in zip(self.joins, lanes, strict=True)
        ]


class _Lanes(nn.Module):
    """x + a convolution of three lanes, each of which three times sees all of them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.turns = nn.ModuleList(_Turn(features) for _ in range(3))
        self.last = _conv(_LANES * features, features)

    def forward(self, x: Tensor) -> Tensor:
        lanes = [x] * _LANES
        for turn in self.turns:
            lanes = turn(lanes)
        return x + _act(self.last(torch.cat(lanes, 1)))


class EEGAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, 4·rows, 4·cols), unit values."""

    laplacian: Tensor

    def __init__(
        self, bands: int, *, features: int = 64, blocks: int = 6, edge_blocks: int = 3
    ) -> None:
        super().__init__()
        n = features
        self.head = _chain([bands, 2 * n, n])
        self.body = nn.Sequential(*(_Lanes(n) for _ in range(blocks)))
        self.up = _stages(n, bands)
        kernel = -torch.ones(1, 1, 3, 3)
        kernel[..., 1, 1] = 8
        self.register_buffer("laplacian", kernel.expand(bands, 1, 3, 3).clone(), persistent=False)
        self.edge_head = _chain([bands, n, n, 2 * n, 2 * n, 4 * n, n], halved=(2, 4))
        self.edge_body = nn.Sequential(
            *(_Lanes(n) for _ in range(edge_blocks)), _conv(n, 4 * n), nn.LeakyReLU(_SLOPE)
        )
        self.mask = nn.Sequential(*_chain([n, n, 2 * n]), _conv(2 * n, 4 * n), nn.Sigmoid())
        self.edge_join = _chain([4 * n, n])
        self.edge_up = _stages(n, bands)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.interpolate(x, scale_factor=4, mode="bicubic", align_corners=False)
        base = skip + self.up(self.body(self.head(x)))  # (batch, bands, 4·rows, 4·cols)
        edges = F.conv2d(base, self.laplacian, padding=1, groups=base.shape[1])
        coarse = self.edge_head(edges)  # (batch, features, rows, cols)
        found = self.edge_body(coarse)
        clean = self.edge_up(self.edge_join(found + self.mask(coarse) * found))
        return base - edges + clean


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _conv(narrow: int, wide: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, stride, 1)


def _chain(widths: list[int], halved: tuple[int, ...] = ()) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (narrow, wide) in enumerate(pairwise(widths)):
        layers += [_conv(narrow, wide, 2 if i in halved else 1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)


def _stages(features: int, bands: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [_conv(features, 4 * features), nn.PixelShuffle(2), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, _conv(features, bands))


def build(card: ModelCard) -> EEGAN:
    """The untrained net of a card."""
    return EEGAN(len(card.bands), **card.options)


DESIGNS = (
    Design("eegan", "sisr", "eegan", build, {4: 47}, 4, "Jiang et al., IEEE TGRS 2019",
           options={"features": 64, "blocks": 6, "edge_blocks": 3},
           recipe=Recipe(patch=16, batch_size=2, lr=2e-4)),
)  # fmt: skip
