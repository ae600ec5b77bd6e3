"""What nets of any scale have in common: an encoder at the input's size, asked at any place.

The encoder is EDSR's trunk without its upsampler, as in LIIF's repository (yinboc/liif): inputs
are taken from 0 … 1 to -1 … 1, and so are outputs.

    image ─┬─ conv ─┬─ n × [conv ReLU conv +] ─ conv ─ + ─ decoder, asked at places ─ + ─
           │        └─────────────────────────────────┘                               │
           └──────────────────────── bicubic at the same places ─────────────────────-┘

The bicubic skip is geosr's: what is learnt is what interpolation lacks. `skip` false leaves it out,
as published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from geosr.models.nets.continuous.places import Places, bicubic
from geosr.models.nets.single.edsr import Residual

_BLOCK = 16384  # output pixels decoded at a time where nothing is learnt


class Encoder(nn.Module):
    """EDSR's trunk; 16 blocks of 64 features are the baseline's."""

    def __init__(self, bands: int, *, features: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.Sequential(
            *(Residual(features) for _ in range(blocks)),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return x + self.body(x)  # (batch, features, rows, cols)


class Continuous(nn.Module, ABC):
    """A net of any scale; unit values (batch, bands, rows, cols) to (batch, bands, n, m).

    Args:
        skip: what the decoder gives is added to bicubic interpolation.
    """

    def __init__(self, bands: int, *, features: int, blocks: int, skip: bool) -> None:
        super().__init__()
        self.encoder = Encoder(bands, features=features, blocks=blocks)
        self.skip = skip

    def forward(self, x: Tensor, places: Places) -> Tensor:
        """The output pixels at `places`."""
        prepared = self.prepare(self.encoder(2 * x - 1), x)
        blocks = [places] if self.training else places.blocks(_BLOCK)
        out = torch.cat([self.decode(prepared, block) for block in blocks], 1)
        out = out.permute(0, 3, 1, 2).to(x.dtype) / 2  # (batch, bands, n, m)
        return bicubic(x, places) + out if self.skip else out + 0.5

    @abstractmethod
    def prepare(self, features: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """What is computed once at the input's size, for all places."""

    @abstractmethod
    def decode(self, prepared: tuple[Tensor, ...], places: Places) -> Tensor:
        """(batch, n, m, bands) at places, -1 … 1."""
