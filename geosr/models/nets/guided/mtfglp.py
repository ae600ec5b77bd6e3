"""MTF-GLP-CBD: the detail that the sensor's point spread hides of the guide, by every band's share.

Aiazzi, Alparone, Baronti, Garzelli, Selva, "MTF-tailored multiscale fusion of high-resolution MS
and Pan imagery", Photogrammetric Engineering & Remote Sensing 72 (2006).

    M↑ + g (P - P_c↑),  g = cov(M, P_c) / var(P_c)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import (
    CUBIC,
    Classical,
    Sample,
    column,
    each_regression,
    template,
    through,
)


class MTFGLP(Classical):
    """The net.

    Attributes:
        gain: g, by band.
    """

    gain: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.register_buffer("gain", torch.ones(self.bands))

    @property
    def reach(self) -> int:
        """The point spread's, then that of the interpolation."""
        return CUBIC + through(self)

    def sharpened(self, guide: Tensor, coarse: Tensor) -> Tensor:
        """(batch, bands, k · rows, k · cols)."""
        more = guide - self.raised(self.seen(guide))
        return self.raised(coarse) + column(self.gain, coarse) * more

    def measure(self, samples: Sequence[Sample]) -> None:
        """Every band's share in the guide."""
        seen = [(self.seen(self.guide(s.fine))[0], s.coarse[0], s.clear) for s in samples]
        self.gain.copy_(each_regression(seen)[0])


def build(card: ModelCard) -> MTFGLP:
    """The net of a card."""
    return MTFGLP(card)


DESIGNS = (template("mtf-glp", build, source="Aiazzi et al., PE&RS 72 (2006)"),)
