"""AESR: an autoencoder of five layers that sharpens Sentinel-2's 20 m and 60 m bands to 10 m.

A small comparator to DSen2, from its adaptation by UP42. Reference repository: up42/DSen2. One
class, two cards.

    d10 (4) ────────┐
    d20 (6) ── ↑2 ──┼─ concat ─ conv ─┬─ conv ─┬─ deconv ─ + ─ deconv ─ + ─ conv 5 × 5 ─ output
    d60 (2) ── ↑6 ──┘                 │        └────────────┘            │
                                      └──────────────────────────────────┘

Convolutions and transposed ones are 3 × 3 with zero padding and stride 1, a ReLU after each but
the last; upsampling is bilinear with half-pixel centres. No skip from input to output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import Input, ModelCard
from geosr.models.design import guided
from geosr.models.nets.guided.dsen2 import DN, TO_20, TO_60, raise_to, recipe, sharpener


class AESR(nn.Module):
    """The net.

    Args:
        bands: number of input bands by GSD, finest first; the last are the ones to sharpen.
    """

    def __init__(self, bands: Mapping[int, int], features: int = 64) -> None:
        super().__init__()
        self.gsds = tuple(bands)
        self.first = nn.Conv2d(sum(bands.values()), features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.inner = nn.ConvTranspose2d(features, features, 3, padding=1)
        self.outer = nn.ConvTranspose2d(features, features, 3, padding=1)
        self.tail = nn.Conv2d(features, bands[self.gsds[-1]], 5, padding=2)
        for layer in (self.first, self.second, self.inner, self.outer, self.tail):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """Counts at 10 m; the last layer runs in fp32, as counts need more than bf16 holds."""
        fine = self.gsds[0]
        raised = [raise_to(inputs[gsd] / DN, gsd // fine) for gsd in self.gsds]
        x = torch.cat(raised, 1)  # (batch, 10 or 12, rows, cols), ordered [10 m | 20 m | 60 m]
        first = F.relu(self.first(x))  # (batch, features, rows, cols)
        second = F.relu(self.second(first))
        y = second + F.relu(self.inner(second))
        y = first + F.relu(self.outer(y))
        with torch.autocast(x.device.type, enabled=False):
            return self.tail(y.to(x.dtype)) * DN


def build(card: ModelCard) -> AESR:
    """The untrained net of a card."""
    return AESR({item.gsd: len(item.bands) for item in card.inputs}, **card.options)


def _card(name: str, inputs: Sequence[Input], margin: int) -> ModelCard:
    source = "UP42's adaptation of DSen2"
    return sharpener(name, "aesr", inputs, margin, {"features": 64}, source=source)


_CARDS = (_card("aesr-20", TO_20, 8), _card("aesr-60", TO_60, 12))
DESIGNS = tuple(guided(card, build, recipe=recipe(card), paper=recipe(card)) for card in _CARDS)
