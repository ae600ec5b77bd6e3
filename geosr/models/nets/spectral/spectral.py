"""Spectral super-resolution: the twelve bands of Sentinel-2 from three or four of them.

A published thesis brings the 9 bands of ALI to the 170 of Hyperion so, by a U-Net of 117 million
numbers, L1, the spectral angle and a discriminator. Here it is the trunk of EDSR (Lim et al., CVPR
workshops 2017; sanghyun-son/EDSR-PyTorch) at scale 1, beside a linear map; the discriminator is an
option of its training.

    bands in ─┬─ conv ─ n × [conv ReLU conv +] ─ conv ─ + ─ conv ─ + ─ bands out
              │                                                    │
              ├─ 1 × 1 ────────────────────────────────────────────┘
              └─ in the place of the bands that are among those asked for

Convolutions are 3 × 3 with zero padding where none other is told. Bands that come in go out as they
are. Without blocks the linear map is all there is: a regression, which every net is to beat.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from geosr.models.card import Input, ModelCard
from geosr.models.design import Design, Recipe, guided
from geosr.models.nets.single.edsr import Residual, Skip

TWELVE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
_NANOMETRES = dict(zip(TWELVE, (443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1610, 2190),
                       strict=True))  # fmt: skip  # central wavelengths of Sentinel-2 (ESA)


def nearest(card: ModelCard) -> list[int]:
    """For every band that goes out, the place of the one nearest in wavelength that comes in."""
    given = card.inputs[0].bands
    apart = [[abs(_NANOMETRES[name] - _NANOMETRES[own]) for own in given] for name in card.bands]
    return [each.index(min(each)) for each in apart]


class Spectral(nn.Module):
    """The net; maps (batch, bands in, rows, cols) to (batch, bands out, rows, cols), unit values.

    Args:
        given, asked: names of the bands in and out.
    """

    def __init__(
        self, given: tuple[str, ...], asked: tuple[str, ...], *, features: int, blocks: int
    ) -> None:
        super().__init__()
        self.kept = [(asked.index(name), i) for i, name in enumerate(given) if name in asked]
        self.linear = nn.Conv2d(len(given), len(asked), 1)
        if blocks:
            last = nn.Conv2d(features, features, 3, padding=1)
            self.trunk = nn.Sequential(
                nn.Conv2d(len(given), features, 3, padding=1),
                Skip(*(Residual(features) for _ in range(blocks)), last),
                nn.Conv2d(features, len(asked), 3, padding=1),
            )
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            found = self.linear(x)
        if self.blocks:
            found = found + self.trunk(x)  # (batch, bands out, rows, cols)
        bands = list(found.unbind(1))
        for place, i in self.kept:
            bands[place] = x[:, i]
        return torch.stack([band.to(found.dtype) for band in bands], 1)


def build(card: ModelCard) -> Spectral:
    """The untrained net of a card."""
    return Spectral(card.inputs[0].bands, card.bands, **card.options)


def _design(name: str, given: tuple[str, ...], blocks: int, alias: str = "") -> Design:
    card = ModelCard(
        name=name,
        arch="spectral",
        sensor="sentinel2",
        inputs=(Input(1, given),),
        output=Input(1, TWELVE),
        scale=1,
        margin=2 * blocks + 3 if blocks else 0,
        options={"features": 64, "blocks": blocks},
        source="trunk of Lim et al., CVPR workshops 2017, beside a linear map"
        if blocks else "least squares, band by band",
        task="spectral",
    )  # fmt: skip
    recipe = Recipe("l1+0.1*sam", patch=32, batch_size=16, lr=1e-3)
    made = guided(card, build, recipe=recipe, paper=recipe)
    return replace(made, aliases=(alias,) if alias else (), solved=not blocks)


_RGB, _RGBN = ("B4", "B3", "B2"), ("B4", "B3", "B2", "B8")
DESIGNS = (
    _design("spectral-rgb", _RGB, 8, "spectral"),
    _design("spectral-rgbn", _RGBN, 8),
    _design("linear-rgb", _RGB, 0),
    _design("linear-rgbn", _RGBN, 0),
)
