"""HSRnet: a coarse cube and a fine guide, weighed by band and by place.

Hu, Huang, Deng, Jiang, Vivone, Chanussot, "Hyperspectral image super-resolution via deep
spatiospectral attention convolutional neural networks", IEEE TNNLS 33 (2022). Reference repository:
liangjiandeng/HSRnet (no licence: facts only).

    guide ─ conv 6 × 6, stride r ─┐
    cube ─────────────────────────┴─ conv ─ shuffle r ─┐
    guide ─────────────────────────────────────────────┴─ conv ─ 6 × [conv ReLU conv +] ─ × ─ conv ─ × ─ + ─
    guide ─ mean of bands ─ conv 6 × 6 ─ sigmoid = weights of places ────────────────────┘          │   │
    cube ─ means over the window ─ 1 × 1, 1 × 1 ─ sigmoid = weights of bands ───────────────────────┘   │
    cube, bicubic ↑ r ──────────────────────────────────────────────────────────────────────────────────┘

Convolutions are 3 × 3 with zero padding unless said; those at the entries have a leaky ReLU of slope
0.2. The source has a convolution of 37 numbers more, whose output nothing reads. The last
convolution is zero at first, which is ours: the net begins as interpolation.
"""  # noqa: E501 - the picture

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Recipe
from geosr.models.nets.guided.anypair import template
from geosr.models.nets.guided.dsen2 import DN
from geosr.models.nets.single.edsr import Residual

_SLOPE = 0.2
_WIDE = 6  # pixels along the kernels that see the guide


class HSRnet(nn.Module):
    """The net: counts by GSD to counts of the coarse bands on the guide's grid.

    Args:
        bands: number of bands by GSD, the guide's first.
    """

    def __init__(self, bands: Mapping[int, int], *, features: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.gsds = tuple(bands)
        fine, coarse = self.gsds
        self.factor = coarse // fine
        guides, cube = bands[fine], bands[coarse]
        self.bands = nn.Sequential(
            nn.Conv2d(cube, 1, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(1, cube, 1), nn.Sigmoid()
        )
        self.places = nn.Conv2d(1, 1, _WIDE)
        self.down = nn.Conv2d(guides, guides, _WIDE, self.factor)
        self.head = nn.Conv2d(guides + cube, cube * self.factor**2, 3, padding=1)
        self.join = nn.Conv2d(cube + guides, features, 3, padding=1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, cube, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, r · rows, r · cols); what sees the images themselves runs in fp32."""
        guide, cube = (inputs[gsd] / DN for gsd in self.gsds)
        with torch.autocast(cube.device.type, enabled=False):
            raised = F.interpolate(
                cube, scale_factor=self.factor, mode="bicubic", align_corners=False
            )
            places = torch.sigmoid(self.places(_padded(guide.mean(1, keepdim=True), 1)))
            bands = self.bands(cube.mean((2, 3), keepdim=True))  # (batch, bands, 1, 1)
            x = torch.cat([self.down(_padded(guide, self.factor)), cube], 1)
            x = F.pixel_shuffle(F.leaky_relu(self.head(x), _SLOPE), self.factor)
            x = F.leaky_relu(self.join(torch.cat([x, guide], 1)), _SLOPE)
        x = self.body(x)  # (batch, features, r · rows, r · cols)
        with torch.autocast(cube.device.type, enabled=False):
            detail = self.tail(x.to(raised.dtype) * places) * bands
        return (raised + detail) * DN


def _padded(x: Tensor, stride: int) -> Tensor:
    """Zeros around it, so that a kernel of `_WIDE` gives a pixel for every `stride`."""
    more = max(_WIDE - stride, 0)
    before = more // 2
    return F.pad(x, (before, more - before, before, more - before))


def build(card: ModelCard) -> HSRnet:
    """The untrained net of a card."""
    return HSRnet({item.gsd: len(item.bands) for item in card.inputs}, **card.options)


# The weights of bands are told by the whole window, so tiles blend; without them a pixel sees 10
# coarse pixels far at factor 2, and less at larger ones.
DESIGNS = (
    template(
        "hsrnet", build, source="Hu et al., IEEE TNNLS 33 (2022)", reach=12, blend=8,
        options={"features": 64, "blocks": 6},
        recipe=Recipe(patch=24, lr=1e-3, jitter=0.1),
        paper=Recipe("l1", 16, 32, 150_000, "adam", 1e-4, 1e-4, schedule="constant", warmup=0,
                     clip=0.0, ema=0.0),
    ),
)  # fmt: skip
