"""RRDBNet: dense blocks within residual blocks, then enlarging by nearest neighbour.

Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops
2018; its generator. Reference repositories: xinntao/ESRGAN, XPixelGroup/BasicSR.

    image ─ conv ─┬─ 23 × [┬─ 3 × [dense ·β +] ─ ·β + ─] ─ conv ─ + ─ stages ─ conv LReLU ─ conv
                  │        └──────────────────────┘               │
                  └───────────────────────────────────────────────┘
    dense:  4 × [conv to 32 LReLU, beside all before] ─ conv to 64
    stage:  nearest ×2 ─ conv LReLU

One stage for ×2, two for ×4, three for ×8, one of nearest ×3 for ×3; one of ×5 for ×5
(luissalgueiro/rs-esrgan), and one of ×2 behind it for ×10 (pixel-smasher). Every convolution is
3 × 3 with zero padding, leaky ReLUs have the slope 0.2, and β is 0.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended

_SLOPE = 0.2
_BETA = 0.2
_FACTORS = {3: [3], 5: [5], 10: [5, 2]}  # the others are powers of two
_GAIN = 0.1  # of He's initialisation in the dense blocks: the paper's "smaller initialization"


class _Dense(nn.Module):
    """x + β · five convolutions, each of which sees x and the outputs of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        wide = [growth] * 4 + [features]
        self.convs = nn.ModuleList(_conv(features + i * growth, n) for i, n in enumerate(wide))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)  # type: ignore[arg-type]
            conv.weight.data.mul_(_GAIN)  # type: ignore[operator]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in self.convs[:-1]:
            new = F.leaky_relu(conv(seen), _SLOPE)
            seen = torch.cat([seen, new], 1)  # (batch, features + (i + 1) · growth, rows, cols)
        return x + _BETA * self.convs[-1](seen)


class RRDB(nn.Module):
    """x + β · three dense blocks."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(_Dense(features, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + _BETA * self.dense(x)


class RRDBNet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        growth: features that each convolution of a dense block adds.
        frames: images of one place, whose bands it takes all at once.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 23, growth: int = 32,
        frames: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.head = _conv(bands * frames, features)
        self.body = nn.Sequential(
            *(RRDB(features, growth) for _ in range(blocks)), _conv(features, features)
        )
        self.up = _stages(features, scale)
        self.tail = nn.Sequential(
            _conv(features, features), nn.LeakyReLU(_SLOPE), _conv(features, bands)
        )

    def forward(self, x: Tensor, clear: Tensor | None = None) -> Tensor:
        """Of several frames (batch, frames, bands, rows, cols), those unclear `mended` before."""
        x = self.head(x if clear is None else mended(x, clear).flatten(1, 2))
        return self.tail(self.up(x + self.body(x)))  # (batch, bands, s·rows, s·cols)


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def _stages(features: int, scale: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for factor in _FACTORS.get(scale, [2] * (scale.bit_length() - 1)):
        layers += [nn.Upsample(scale_factor=factor, mode="nearest"), _conv(features, features)]
        layers += [nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)


def build(card: ModelCard) -> RRDBNet:
    """The untrained net of a card."""
    return RRDBNet(len(card.bands), card.scale, frames=card.frames, **card.options)


# 350 convolutions see further than tiles can afford to read around their core (96 pixels at most),
# though what lies so far off hardly counts: tiles blend, and read this much.
DESIGNS = (
    Design("rrdb", "sisr", "rrdb", build, {2: 32, 3: 32, 4: 32, 5: 32, 8: 32, 10: 32}, 4,
           "Wang et al., ECCV workshops 2018", blend=8,
           options={"features": 64, "blocks": 23, "growth": 32},
           recipe=Recipe(patch=16, batch_size=2, lr=2e-4),
           paper=Recipe("l1", 32, 16, 1_000_000, "adam", 2e-4, schedule="step", period=200_000,
                        warmup=0, clip=0.0, ema=0.0)),
    Design("rrdb-series", "misr", "rrdb", build, {2: 32, 3: 32, 4: 32, 8: 32}, 4,
           "allenai/satlas-super-resolution: RRDBNet, eight frames stacked as channels", frames=8,
           blend=8, options={"features": 64, "blocks": 23, "growth": 32},
           recipe=Recipe(patch=16, batch_size=2, lr=2e-4)),
)  # fmt: skip
