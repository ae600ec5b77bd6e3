"""RFSR for cubes: a group of bands after the other, each knowing what was made of those before.

Wang, Ma, Jiang, Zhang, "Hyperspectral image super-resolution via recurrent feedback embedding and
spatial-spectral consistency regularization", IEEE TGRS 60 (2022). Reference repository:
wxywhu/RFSR_TGRS (no licence: facts only). It has nothing to do with `rfsr`, the forest.

    of every group, in order, h and sr being 0 at first:
        h ─────┐
        sr ────┼─ conv ReLU ─ 6 × [conv ReLU conv, weighed by feature, +] ─┬─ sub-pixel ↑s ─ conv ─ + ─ the group, fine
        group ─┘                                                           └─ conv ─ h'            │
        group, bicubic ↑s ─────────────────────────────────────────────────────────────────────────┘
        sr' = the fine group by pixel unshuffle
    then all bands ─ 3 × [x + 1 × 3 × 3 of ReLU of 3 × 1 × 1, the cube being one feature]

Convolutions are 3 × 3 with zero padding unless said; the last ones go along the bands, then along
rows and columns. Of a number of bands that is no multiple of the group the last group begins
earlier. The source enlarges the groups by the nearest neighbour. Bicubic, and that the last
convolution of each residual is zero at first, are ours: the net begins as interpolation.
"""  # noqa: E501 - the picture

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.guided.dsen2ps import raised
from geosr.models.nets.single.edsr import Skip, upsampler
from geosr.models.nets.single.groups import groups, joined
from geosr.models.nets.single.rcan import ChannelAttention

_CONSISTENCY = 3  # blocks behind the groups


class _Consistency(nn.Module):
    """x + what 3-D convolutions along bands, then in space, make of it; begins as x."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.along = nn.Conv3d(1, wide, (3, 1, 1), padding=(1, 0, 0))
        self.across = nn.Conv3d(wide, 1, (1, 3, 3), padding=(0, 1, 1))
        nn.init.zeros_(self.across.weight)
        nn.init.zeros_(self.across.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        change = self.across(F.relu(self.along(x.unsqueeze(1)))).squeeze(1)
        return x + change.to(x.dtype)


class RecurrentFeedback(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        blocks: of every turn.
        group: bands of a turn, as many as there are at most.
        wide: features of the 3-D convolutions.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 6, group: int = 16,
        wide: int = 128,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale, self.features = scale, features
        self.groups = groups(bands, group)
        one = self.groups[0].stop
        self.enter = _conv(features + one * scale**2 + one, features)
        self.body = nn.Sequential(*(_block(features) for _ in range(blocks)))
        self.up = upsampler(features, scale)
        self.leave = _conv(features, one)
        self.remember = _conv(features, features)
        self.consistency = nn.Sequential(*(_Consistency(wide) for _ in range(_CONSISTENCY)))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        one, (rows, cols) = self.groups[0].stop, x.shape[2:]
        state = x.new_zeros(len(x), self.features, rows, cols)
        before = x.new_zeros(len(x), one * self.scale**2, rows, cols)
        parts = []
        for place in self.groups:
            h = F.relu(self.enter(torch.cat([state, before, x[:, place]], 1)))
            h = self.body(h)  # (batch, features, rows, cols)
            parts.append(raised(x[:, place], self.scale) + self.leave(self.up(h)).to(x.dtype))
            state = self.remember(h).to(x.dtype)
            before = F.pixel_unshuffle(parts[-1], self.scale)
        out: Tensor = self.consistency(joined(parts, self.groups))
        return out


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def _block(features: int) -> Skip:
    return Skip(
        _conv(features, features), nn.ReLU(inplace=True), _conv(features, features),
        ChannelAttention(features),
    )  # fmt: skip


def build(card: ModelCard) -> RecurrentFeedback:
    """The untrained net of a card."""
    return RecurrentFeedback(len(card.bands), card.scale, **card.options)


# The attention's means are over the whole window, so tiles blend.
DESIGNS = (
    Design("rfsr-hsi", "sisr", "rfsr-hsi", build, dict.fromkeys((2, 3, 4, 5, 6, 8), 32), 4,
           "Wang et al., IEEE TGRS 60 (2022)", blend=8,
           options={"features": 64, "blocks": 6, "group": 16, "wide": 128},
           recipe=Recipe(patch=16, batch_size=4, lr=3e-4),
           paper=Recipe("l1+0.159*sam+0.1*gradient", 16, 16, 100_000, "adam", 1e-4,
                        schedule="step", period=80_000, gamma=0.1, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
