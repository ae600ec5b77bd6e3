"""PECNN: a first finer image, its shifts brought back to the coarse size, and what they still miss.

Progressively enhanced network for video satellite images; layers by its reference repository's
PECNNx3.py (Jiang, Wang, Yi, Jiang; MIT).

    image ─ 3 × [conv ReLU] ─┬─ pixel shuffle s ─ base ─┬─────────────────────────────────────── +
                             │                    5 shifts, every s-th pixel                     │
                             └─────────────── concat ───┘                                        │
                                                 └─ conv ReLU ─ 3 × [block] ─ conv ─ pixel shuffle s

    image  to 64, 32 and bands·s² features
    block  x + conv ReLU 32 ─ conv ReLU 32 ─ 1 × 1 ReLU 64

Convolutions are 3 × 3 with zero padding where nothing is said. The shifts are the base itself and
that by one fine pixel up, down, left and right, edges repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import Skip

_SHIFTS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))  # row and column to begin at


def _block(features: int, narrow: int) -> Skip:
    return Skip(
        nn.Conv2d(features, narrow, 3, padding=1), nn.ReLU(),
        nn.Conv2d(narrow, narrow, 3, padding=1), nn.ReLU(),
        nn.Conv2d(narrow, features, 1), nn.ReLU(),
    )  # fmt: skip


class PECNN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        narrow: features inside the blocks, and before the first finer image.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, narrow: int = 32, blocks: int = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        made = bands * scale**2
        self.first = nn.Sequential(
            nn.Conv2d(bands, features, 3, padding=1), nn.ReLU(),
            nn.Conv2d(features, narrow, 3, padding=1), nn.ReLU(),
            nn.Conv2d(narrow, made, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.merge = nn.Conv2d(len(_SHIFTS) * bands + made, features, 3, padding=1)
        self.body = nn.Sequential(*(_block(features, narrow) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, made, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        base = F.pixel_shuffle(y, self.scale)  # (batch, bands, s·rows, s·cols)
        around = F.pad(base, (1, 1, 1, 1), "replicate")
        rows, cols = base.shape[-2:]
        seen = [around[..., r : r + rows : self.scale, c : c + cols : self.scale]
                for r, c in _SHIFTS]  # fmt: skip
        y = self.body(F.relu(self.merge(torch.cat([*seen, y], 1))))
        return base + F.pixel_shuffle(self.tail(y), self.scale)


def build(card: ModelCard) -> PECNN:
    """The untrained net of a card."""
    return PECNN(len(card.bands), card.scale, **card.options)


# Published: the rate halves every 5000 steps, continuously, down to 1e-4.
DESIGNS = (
    Design("pecnn", "sisr", "pecnn", build, {2: 12, 3: 12, 4: 12}, 3,
           "Progressively enhanced CNN for video satellite images (MIT)",
           options={"features": 64, "narrow": 32, "blocks": 3},
           recipe=Recipe(patch=16, batch_size=16, lr=1e-3),
           paper=Recipe("mse", 32, 16, 60_000, "adam", 1e-3, schedule="step", period=5_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
