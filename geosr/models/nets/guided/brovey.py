"""Brovey: the interpolated bands times the guide over what they themselves make of it.

Gillespie, Kahle, Walker, "Color enhancement of highly correlated images II", Remote Sensing of
Environment 22 (1987), with weights fitted to the scene as in Vivone et al., IEEE TGRS 53 (2015).

    M↑ · P / I↑

It keeps the bands' ratios and with them their spectral angles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import Intensity, Sample, template

_LEAST = 0.05  # of the mean I: what is darker is not divided by


class Brovey(Intensity):
    """The net.

    Attributes:
        least: I below which it is not divided by.
    """

    least: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.register_buffer("least", torch.tensor(1.0))

    def sharpened(self, guide: Tensor, coarse: Tensor) -> Tensor:
        """M↑ · P / I↑, (batch, bands, k · rows, k · cols)."""
        below = self.raised(self.intensity(coarse)).maximum(self.least.to(coarse))
        return self.raised(coarse) * (guide / below)

    def measure(self, samples: Sequence[Sample]) -> None:
        """I, and how dark it may be."""
        super().measure(samples)
        means = [self.intensity(s.coarse)[0][:, s.clear].mean() for s in samples if s.clear.any()]
        if means:
            self.least.copy_((_LEAST * torch.stack(means).mean().abs()).clamp(min=1e-6))


def build(card: ModelCard) -> Brovey:
    """The net of a card."""
    return Brovey(card)


DESIGNS = (template("brovey", build, source="Gillespie et al. 1987, weights of the scene"),)
