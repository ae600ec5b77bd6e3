"""BDSD: detail as a combination of guide and bands that is right one scale further down.

Garzelli, Nencini, Capobianco, "Optimal MMSE pan sharpening of very high resolution multispectral
images", IEEE TGRS 46 (2008): one set of weights for the scene, with a constant.

    M↑ + γ [M↑, P],  γ by least squares of M - M_cc↑ on [M_cc↑, P_c]

M_cc are the coarse bands seen again through their point spread, at the same factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import (
    Classical,
    Sample,
    column,
    regression,
    sensed_guides,
    template,
)
from geosr.models.nets.guided.regress import sensed


class BDSD(Classical):
    """The net.

    Attributes:
        weight: γ, (bands, bands + guides).
        level: its constants, (bands,).
    """

    weight: Tensor
    level: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        count = self.bands + self.guides
        self.register_buffer("weight", torch.full((self.bands, count), 1 / count))
        self.register_buffer("level", torch.zeros(self.bands))

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, k · rows, k · cols) in counts; each guide has weights of its own."""
        fine, coarse = inputs[self.low], inputs[self.high]
        with torch.autocast(coarse.device.type, enabled=False):
            raised = self.raised(coarse)
            both = torch.cat([raised, fine], 1)  # (batch, bands + guides, …)
            more = torch.einsum("bx,nxrc->nbrc", self.weight.to(both), both)
            return raised + more + column(self.level, both)

    @torch.no_grad()
    def learn(self, samples: Sequence[Sample]) -> None:
        """γ, from the bands seen once more by their sensor."""
        weight, level = regression([self._below(x, sample)
                                    for x, sample in sensed_guides(self, samples)])  # fmt: skip
        self.weight.copy_(weight)
        self.level.copy_(level)

    def _below(self, guides: Tensor, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """[M_cc↑, P_c], M - M_cc↑ and where they count, of whole coarser pixels."""
        rows, cols = (n // self.factor * self.factor for n in sample.clear.shape)
        coarse = sample.coarse[..., :rows, :cols]
        again = self.raised(sensed(coarse, self.factor, self.spread))[0]
        x = torch.cat([again, guides[:, :rows, :cols]])
        return x, coarse[0] - again, sample.clear[:rows, :cols]


def build(card: ModelCard) -> BDSD:
    """The net of a card."""
    return BDSD(card)


DESIGNS = (template("bdsd", build, source="Garzelli et al., IEEE TGRS 46 (2008)"),)
