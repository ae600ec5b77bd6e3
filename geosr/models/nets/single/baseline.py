"""baseline and enhanced: a small residual net, and a deeper one that corrects bicubic.

Two plain nets for ×4, known from a description alone (32 × 32 to 128 × 128 pixels).

    baseline:
    image ─ conv ─ 5 × [conv ReLU conv +] ─ upsampler ReLU ─ conv ─

    enhanced:
    image ─┬─ conv ─┬─ 16 × [conv ReLU conv +] ─ conv ─ + ─ upsampler ReLU ─ conv ─ + ─
           │        └───────────────────────────────────┘                           │
           └────────────────────────────── bicubic ×s ──────────────────────────────┘

Every convolution is 3 × 3 with zero padding. The description gives no number of blocks
or features; these are geosr's choice.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Residual, upsampler


class Baseline(nn.Module):
    """The small net; (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 5) -> None:
        super().__init__()
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.up = upsampler(features, scale, nn.ReLU)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.up(self.body(self.head(x))))  # (batch, bands, s·rows, s·cols)


class Enhanced(nn.Module):
    """The deep net; (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.Sequential(
            *(Residual(features) for _ in range(blocks)),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.up = upsampler(features, scale, nn.ReLU)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        x = self.head(x)
        x = self.up(x + self.body(x))  # (batch, features, s·rows, s·cols)
        return skip + self.tail(x)


def build(card: ModelCard) -> Baseline:
    """The untrained net of a `baseline` card."""
    return Baseline(len(card.bands), card.scale, **card.options)


def build_enhanced(card: ModelCard) -> Enhanced:
    """The untrained net of an `enhanced` card."""
    return Enhanced(len(card.bands), card.scale, **card.options)


# 50 epochs of the 17,354 pairs, sixteen at a time; batch and rate are not given.
_SOURCE = "baseline and enhanced super-resolution, 32 to 128 pixels, by description"
DESIGNS = (
    Design("baseline", "sisr", "baseline", build, {2: 13, 3: 13, 4: 13, 8: 13}, 4, _SOURCE,
           options={"features": 64, "blocks": 5},
           recipe=Recipe(patch=16),
           paper=Recipe("l1", 32, 16, 54_000, "adam", 1e-4, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
    Design("enhanced", "sisr", "enhanced", build_enhanced, {2: 36, 3: 36, 4: 36, 8: 36}, 4,
           _SOURCE,
           options={"features": 64, "blocks": 16},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("l1+0.1*perceptual", 32, 16, 54_000, "adam", 1e-4, schedule="constant",
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
