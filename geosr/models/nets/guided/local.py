"""regress: detail by local regression of every band on the guides, and nothing more.

geosr's own, and what its trained nets refine (`regress`, beside this module). How bands go together
is read off the ground around every pixel; of the whole scene only the guide's variance is asked,
which says what is noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.nets.guided.classical import (
    CUBIC,
    Sample,
    Windowed,
    sensed_guides,
    template,
    through,
)
from geosr.models.nets.guided.regress import detail

_RADIUS = 2  # coarse pixels, of the squares that a regression is taken over
_ABOVE = 1  # of the mean above which structure is fine
_NOISE = {0: 0.01, _ABOVE: 0.003}  # ridges as a share of the guide's local variance


class LocalRegression(Windowed):
    """The net; the variances are those on the coarse grid."""

    @property
    def reach(self) -> int:
        """A square and the mean that is taken off it, or the interpolation; the point spread."""
        return max(_RADIUS + _ABOVE, CUBIC) + through(self)

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, k · rows, k · cols) in counts: M↑ and the mean of both regressions."""
        fine, coarse = inputs[self.low], inputs[self.high]
        unit = self.variance.sqrt().item()
        with torch.autocast(coarse.device.type, enabled=False):
            both = detail(
                fine / unit, coarse / unit, [_RADIUS], factor=self.factor, ridges=_NOISE,
                spreads=[[sigma] * self.guides for sigma in self.spread],
            )  # fmt: skip
            first, second = both.chunk(len(_NOISE), 1)
            made = F.pixel_shuffle((first + second) / 2, self.factor)
            return self.raised(coarse) + unit * made

    def measure(self, samples: Sequence[Sample]) -> None:
        """The guides' local variance."""
        found = []
        for guides, sample in sensed_guides(self, samples):
            side = 2 * _RADIUS + 1
            mean, square = (F.avg_pool2d(x.double(), side, 1)
                            for x in (guides, guides**2))  # fmt: skip
            inner = sample.clear[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
            found.append((square - mean**2)[:, inner].flatten())
        values = torch.cat(found)
        if len(values):
            self.variance.copy_(values.mean().clamp(min=1e-12))


def build(card: ModelCard) -> LocalRegression:
    """The net of a card."""
    return LocalRegression(card)


DESIGNS = (template("regress", build, source="geosr; local regression"),)
