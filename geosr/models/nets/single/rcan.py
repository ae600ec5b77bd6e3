"""RCAN: residual groups of residual blocks, each of which weighs its features by their means.

Zhang, Li, Li, Wang, Zhong, Fu, "Image super-resolution using very deep residual channel attention
networks", ECCV 2018. Reference repository: yulunzhang/RCAN.

    image − mean ─ conv ─┬─ 10 × [group] ─ conv ─ + ─ upsampler ─ conv ─ + mean
                         └────────────────────────┘
    group:      ┬─ 20 × [block] ─ conv ─ + ─
                └────────────────────────┘
    block:      ┬─ conv ReLU ─ conv ─┬──────────────────────────────────── × ─ + ─
                │                    └─ mean ─ 64→4 ReLU ─ 4→64 sigmoid ───┘   │
                └──────────────────────────────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding. The means are over the whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Skip, mean_of, upsampler


class ChannelAttention(nn.Module):
    """x times one weight per feature, from the means over the whole window.

    Args:
        reduction: how many times fewer features they are squeezed to.
        squeezed: how many those are, where that is no whole part.
    """

    def __init__(self, features: int, reduction: int = 16, squeezed: int | None = None) -> None:
        super().__init__()
        squeezed = squeezed or max(features // reduction, 1)
        self.squeeze = nn.Conv2d(features, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # (batch, features, 1, 1)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class RCAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        groups: residual groups.
        blocks: residual blocks in each.
        reduction: how many times fewer features the attention squeezes them to.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, groups: int = 10, blocks: int = 20,
        reduction: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        attention = partial(ChannelAttention, features, reduction)
        self.head = _conv(bands, features)
        self.body = Skip(
            *(group(features, blocks, attention) for _ in range(groups)),
            _conv(features, features),
        )
        self.up = upsampler(features, scale)
        self.tail = _conv(features, bands)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.body(self.head(x - self.mean)))  # (batch, features, s·rows, s·cols)
        return self.tail(x) + self.mean


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def group(features: int, blocks: int, attention: Callable[[], nn.Module]) -> nn.Module:
    """A residual group, whose blocks end in an attention each."""
    return Skip(
        *(_block(features, attention()) for _ in range(blocks)),
        _conv(features, features),
    )


def _block(features: int, attention: nn.Module) -> Skip:
    return Skip(
        _conv(features, features), nn.ReLU(inplace=True), _conv(features, features), attention,
    )  # fmt: skip


def build(card: ModelCard) -> RCAN:
    """The untrained net of a card."""
    return RCAN(len(card.bands), card.scale, **card.options)


# The attention's means are over the whole window, so tiles can only agree by blending: the reach
# is merely what they read around their core.
DESIGNS = (
    Design("rcan", "sisr", "rcan", build, {2: 32, 3: 32, 4: 32, 8: 32}, 2,
           "Zhang et al., ECCV 2018", blend=8,
           options={"features": 64, "groups": 10, "blocks": 20, "reduction": 16},
           recipe=Recipe(patch=16, batch_size=2, lr=2e-4),
           paper=Recipe("l1", 48, 16, 1_000_000, "adam", 1e-4, schedule="step", period=200_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
