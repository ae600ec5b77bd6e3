"""MIP: a deep image prior whose input migrates from a fine image of the same place.

"Migrating image prior", row 14.2.23 of the catalogue of methods: unsupervised super-resolution of
remote sensing images from an image of another date. Its public code computes the migrated input
and then overwrites it by fresh noise, which leaves a deep image prior; here it is done as the
paper's text has it.

    reference ─ U-Net ─ + ─ sigmoid ─┬─ prior (`dip`) ─
                  input ┘ ←──────────┘ (of the next step)

    U-Net:  conv 64 ─┬─ conv ÷2 128 ─┬─ conv ÷2 256 ─ 3 × [conv ReLU conv +] ─ ×2 conv 128 ─ + ─
                     │               └────────────────────────────────────────────────────────┘
                     └──────────────────────────────────────────── ×2 conv 64 ─ + ─ conv 32 ─

The reference has the output's grid. Every convolution is 3 × 3; ×2 is bilinear. How the U-Net is
joined inside is not told by the paper and is geosr's choice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.fitted.dip import DIP, INPUTS
from geosr.models.nets.single.edsr import Residual


class Migration(nn.Module):
    """The U-Net; (1, bands, rows, cols) to (1, 32, rows, cols); both multiples of 4."""

    def __init__(self, bands: int, features: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.second = nn.Conv2d(features, 2 * features, 3, 2, 1)
        self.third = nn.Conv2d(2 * features, 4 * features, 3, 2, 1)
        self.body = nn.Sequential(*(Residual(4 * features) for _ in range(3)))
        self.back = nn.Conv2d(4 * features, 2 * features, 3, padding=1)
        self.whole = nn.Conv2d(2 * features, features, 3, padding=1)
        self.tail = nn.Conv2d(features, INPUTS, 3, padding=1)

    def forward(self, reference: Tensor) -> Tensor:
        head = F.relu(self.head(reference))
        half = F.relu(self.second(head))  # (1, 2f, rows / 2, cols / 2)
        deep = self.body(F.relu(self.third(half)))  # (1, 4f, rows / 4, cols / 4)
        half = half + F.relu(self.back(_twice(deep)))
        return self.tail(head + F.relu(self.whole(_twice(half))))


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class MIP(DIP):
    """The fit; as `dip`, with a reference.

    Args:
        reference_bands: of the reference.

    Attributes:
        reference: (1, bands, s·rows, s·cols) of the image that is made, mean 0, deviation 1.
    """

    def __init__(
        self,
        bands: int,
        scale: int,
        *,
        reference_bands: int = 3,
        migration: int = 64,
        features: int = 128,
        depth: int = 5,
        skip: int = 4,
    ) -> None:
        super().__init__(bands, scale, features=features, depth=depth, skip=skip)
        self.migration = Migration(reference_bands, migration)
        self.reference: Tensor | None = None
        self.rate = 1e-4

    def source(
        self, sides: tuple[int, int], device: torch.device, random: torch.Generator
    ) -> Callable[[], Tensor]:
        """The input of every step is the last one, moved by what the reference says."""
        assert self.reference is not None, "a reference is given before the net is called"
        rows, cols = self.reference.shape[2:]
        room = (0, sides[1] - cols, 0, sides[0] - rows)
        reference = F.pad(self.reference.clone().to(device), room, mode="replicate")
        last = torch.rand((1, INPUTS, *sides), generator=random).to(device)

        def migrate() -> Tensor:
            nonlocal last
            made = torch.sigmoid(self.migration(reference) + last)
            last = made.detach()
            return made

        return migrate


def build(card: ModelCard) -> MIP:
    """The net of a card."""
    return MIP(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("mip", "fits", "mip", build, {2: 8, 3: 8, 4: 8}, 2,
           "Migrating image prior, by its public code and text",
           blend=8, tile=128,
           options={"features": 128, "depth": 5, "skip": 4, "migration": 64, "reference_bands": 3},
           recipe=Recipe("mse", steps=10_000, optimizer="adam", lr=1e-4, warmup=0, ema=0.0)),
)  # fmt: skip
