"""Sentinel-2 at 5 m: nets that sharpen to 10 m, one that makes those bands finer, a regression.

    d10 ──────────────────── finer (dsen2-ps-10) ── the 10 m bands at 5 m ─┬─────────────┐
     │                                                                     │             │
    d20, d60 ── sharpeners (dsen2-ps-20, -60) ── the others at 10 m ── regress ── at 5 m ┴─ output

What the sharpeners give is as sharp at 10 m as the 10 m bands are, which tells how a regression
sees the finer ones. It has no weights, so the cascade is made of nets that come on their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from geosr.models.card import Input, Model, ModelCard
from geosr.models.nets.guided import local
from geosr.models.nets.guided.classical import for_scene
from geosr.scene import pointspread


class Cascade(nn.Module):
    """The net: counts by GSD to counts of all bands on the finer net's grid."""

    def __init__(self, sharpeners: Sequence[nn.Module], finer: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.sharpeners, self.finer = nn.ModuleList(sharpeners), finer
        self.regress = local.build(card)
        self.fine, self.coarse = (item.gsd for item in card.inputs)

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, 4 + bands, rows, cols) at 5 m."""
        fine = self.finer(inputs)
        sharp = torch.cat([net(inputs) for net in self.sharpeners], 1)  # at 10 m
        return torch.cat([fine, self.regress({self.fine: fine, self.coarse: sharp})], 1)


def cascade(sharpeners: Sequence[Model], finer: Model) -> Model:
    """One net of several: what `sharpeners` make at 10 m comes out at the GSD of `finer`.

    Its card names all of them; the finer net's bands come first.
    """
    cards = [model.card for model in sharpeners]
    own = finer.card.output.gsd
    bands = tuple(name for card in cards for name in card.bands)
    spread = pointspread.at(finer.card.bands[0], own) / own
    template = local.DESIGNS[0].card()
    coarse = Input(finer.card.native_gsd, bands)
    regress = for_scene(template, local.build, finer.card.output, coarse, [spread] * len(bands))
    inputs = {item.gsd: item for card in (*cards, finer.card) for item in card.inputs}
    coarsest = max(inputs)
    margin = regress.margin + max(
        finer.card.margin, *(card.margin * finer.card.scale for card in cards)
    )
    card = ModelCard(
        name=" ".join(c.name for c in (*cards, finer.card)),
        arch="cascade",
        sensor=finer.card.sensor,
        inputs=tuple(inputs[gsd] for gsd in sorted(inputs)),
        output=Input(own, (*finer.card.bands, *bands)),
        scale=coarsest // own,
        margin=math.ceil(margin),
        sha256=" ".join(c.sha256 or "none" for c in (*cards, finer.card)),
        adversarial=any(c.adversarial for c in (*cards, finer.card)),
        source="; ".join(c.source for c in (*cards, finer.card)),
    )
    net = Cascade([model.net for model in sharpeners], finer.net, regress)
    return Model(card, net.eval())
