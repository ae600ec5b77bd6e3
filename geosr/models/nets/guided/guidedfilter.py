"""guided-filter: the interpolated band, made everywhere a line of the guides around it.

He, Sun, Tang, "Guided image filtering", IEEE TPAMI 35 (2013), with several guides and as it is
used for joint upsampling.

    M↑ ≈ a · P + b  around every fine pixel;  result  mean(a) · P + mean(b)

Both means are over the squares that hold the pixel. A ridge, a share of the guides' local variance
in the scene, keeps what is noise in them out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import CUBIC, Sample, Windowed, repeated, template
from geosr.models.nets.guided.regress import lines, local_mean

_RADIUS = 2  # coarse pixels, of the squares
_NOISE = 0.001  # ridge as a share of the guides' local variance


class GuidedFilter(Windowed):
    """The net; the variances are those on the fine grid."""

    @property
    def reach(self) -> int:
        """Two squares, one around the other, and the interpolation."""
        return CUBIC + 2 * _RADIUS

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, k · rows, k · cols) in counts."""
        fine, coarse = inputs[self.low], inputs[self.high]
        radius = _RADIUS * self.factor
        with torch.autocast(coarse.device.type, enabled=False):
            unit = self.variance.sqrt().item()
            guides = fine / unit
            slopes, levels = lines(guides, self.raised(coarse) / unit, radius, _NOISE)
            slopes = torch.unflatten(local_mean(slopes.flatten(1, 2), radius), 1, slopes.shape[1:3])
            made = (slopes * guides[:, :, None]).sum(1) + local_mean(levels, radius)
            return unit * made

    def measure(self, samples: Sequence[Sample]) -> None:
        """The guides' local variance."""
        totals, count = 0.0, 0
        for sample in samples:
            guides = sample.fine.double()
            radius = _RADIUS * self.factor
            varied = local_mean(guides**2, radius) - local_mean(guides, radius) ** 2
            clear = repeated(sample.clear, self.factor)
            totals += float(varied[..., clear].sum())
            count += int(clear.sum()) * self.guides
        mean = totals / max(count, 1)
        if mean > 0 and math.isfinite(mean):
            self.variance.fill_(mean)


def build(card: ModelCard) -> GuidedFilter:
    """The net of a card."""
    return GuidedFilter(card)


DESIGNS = (template("guided-filter", build, source="He, Sun, Tang, IEEE TPAMI 35 (2013)"),)
