"""ESPCN: three convolutions at the coarse size, then sub-pixel convolution.

Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert, Wang, "Real-time single image and video
super-resolution using an efficient sub-pixel convolutional neural network", CVPR 2016. A public
implementation: leftthomas/ESPCN.

    image ─ conv 5 × 5 tanh ─ conv 3 × 3 tanh ─ conv 3 × 3 ─ pixel shuffle s
                  64                32           bands·s²         bands

Zero padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe


class ESPCN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        narrow: features after the second convolution.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, narrow: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.extract = nn.Conv2d(bands, features, 5, padding=2)
        self.map = nn.Conv2d(features, narrow, 3, padding=1)
        self.rebuild = nn.Conv2d(narrow, bands * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.map(torch.tanh(self.extract(x))))
        x = self.rebuild(x)  # (batch, bands·s², rows, cols)
        return F.pixel_shuffle(x, self.scale)  # (batch, bands, s·rows, s·cols)


def build(card: ModelCard) -> ESPCN:
    """The untrained net of a card."""
    return ESPCN(len(card.bands), card.scale, **card.options)


# Published: patches of 17 coarse pixels, the rate lowered whenever the error stalls.
DESIGNS = (
    Design("espcn", "sisr", "espcn", build, {2: 4, 3: 4, 4: 4, 8: 4}, 3, "Shi et al., CVPR 2016",
           options={"features": 64, "narrow": 32},
           recipe=Recipe(batch_size=16, lr=1e-3),
           paper=Recipe("mse", 17, 128, 200_000, "adam", 1e-3, schedule="plateau", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
