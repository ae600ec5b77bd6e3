"""GSA: what the guide has more than the bands' own intensity, by every band's share in that.

Aiazzi, Baronti, Selva, "Improving component substitution pansharpening through multivariate
regression of MS + Pan data", IEEE TGRS 45 (2007).

    M↑ + g (P - I↑),  g = cov(M, I) / var(I)

Where the bands explain little of the guide (R² below a quarter, as of another kind of sensor) I
hardly varies and g would grow without bound; there it falls with R².
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import (
    Intensity,
    Sample,
    column,
    each_regression,
    template,
)

_FITTING = 0.25  # R² of I and the guide, from which g is the published one


class GSA(Intensity):
    """The net.

    Attributes:
        gain: g, by band.
    """

    gain: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.register_buffer("gain", torch.full((self.bands,), 0.5))

    def sharpened(self, guide: Tensor, coarse: Tensor) -> Tensor:
        """(batch, bands, k · rows, k · cols)."""
        more = guide - self.raised(self.intensity(coarse))
        return self.raised(coarse) + column(self.gain, coarse) * more

    def measure(self, samples: Sequence[Sample]) -> None:
        """I, and every band's share in it."""
        super().measure(samples)
        own = [(self.intensity(s.coarse)[0], s.coarse[0], s.clear) for s in samples]
        fit = each_regression([(self.nearest(s), self.intensity(s.coarse)[0], s.clear)
                               for s in samples])[0]  # fmt: skip
        self.gain.copy_(each_regression(own)[0] * (fit / _FITTING).clamp(0, 1))


def build(card: ModelCard) -> GSA:
    """The net of a card."""
    return GSA(card)


DESIGNS = (template("gsa", build, source="Aiazzi, Baronti, Selva, IEEE TGRS 45 (2007)"),)
