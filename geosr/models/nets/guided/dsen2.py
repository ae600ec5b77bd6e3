"""DSen2 and VDSen2: residual nets that sharpen Sentinel-2's 20 m and 60 m bands to 10 m.

Lanaras, Bioucas-Dias, Galliani, Baltsavias, Schindler, "Super-resolution of Sentinel-2 images:
Learning a globally applicable deep neural network", ISPRS J. 146 (2018). Reference repository:
lanha/DSen2. One class, four cards, and one for pairs of any sensor, as VIIRS's and MODIS's bands.

    d10 (4) ─────────────┐
    d20 (6) ── ↑2 ───────┼─ concat ─ conv ReLU ─ d × [conv ReLU conv ·0.1 +] ─ conv ─ + ─ output
    d60 (2) ── ↑6 ───────┘                                                           │
    the bands to sharpen, upsampled ─────────────────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding; upsampling is bilinear with half-pixel centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import Input, ModelCard
from geosr.models.design import Recipe, guided
from geosr.models.nets.guided.anypair import template

DN = 2000.0  # counts per unit inside the net
_GUIDE = Input(10, ("B2", "B3", "B4", "B8"))
_RED_EDGE_SWIR = Input(20, ("B5", "B6", "B7", "B8A", "B11", "B12"))
_ATMOSPHERE = Input(60, ("B1", "B9"))


class _Residual(nn.Module):
    """x + 0.1 · conv(ReLU(conv(x))), no activation after the sum."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return added(x, self.second(F.relu(self.first(x), inplace=True)), 0.1)


def entered(head: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU of the first convolution, computed in fp32: bf16 would round the image itself."""
    device = x.device.type
    with torch.autocast(device, enabled=False):
        y = F.relu(head(x), inplace=True)
    return y.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else y


def added(x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
    """x + share · y, written into x where nothing is learnt: memory is what large tiles wait for.

    x must be of no more use to anyone.
    """
    return torch.add(x, y, alpha=share) if torch.is_grad_enabled() else x.add_(y, alpha=share)


class DSen2(nn.Module):
    """The net; `features` and `blocks` are 128 and 6 (DSen2) or 256 and 32 (VDSen2).

    Args:
        bands: number of input bands by GSD, finest first; the last are the ones to sharpen.
    """

    def __init__(self, bands: Mapping[int, int], features: int, blocks: int) -> None:
        super().__init__()
        self.gsds = tuple(bands)
        target = bands[self.gsds[-1]]
        self.head = nn.Conv2d(sum(bands.values()), features, 3, padding=1)
        self.body = nn.Sequential(*(_Residual(features) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, target, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """Counts at 10 m; the residual may run in low precision, the skip stays in fp32."""
        fine = self.gsds[0]
        raised = [raise_to(inputs[gsd] / DN, gsd // fine) for gsd in self.gsds]
        x = torch.cat(raised, 1)  # (batch, 10 or 12, rows, cols), ordered [10 m | 20 m | 60 m]
        x = self.body(entered(self.head, x))  # (batch, features, rows, cols)
        with torch.autocast(x.device.type, enabled=False):
            residual = self.tail(x.to(raised[-1].dtype))  # (batch, targets, rows, cols)
        return (raised[-1] + residual) * DN


def raise_to(x: Tensor, factor: int) -> Tensor:
    """Bilinear, half-pixel centres."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def build(card: ModelCard) -> DSen2:
    """The untrained net of a card."""
    bands = {item.gsd: len(item.bands) for item in card.inputs}
    return DSen2(bands, card.options["features"], card.options["blocks"])


def sharpener(
    name: str, arch: str, inputs: Sequence[Input], margin: int, options: Mapping[str, Any], *,
    source: str, sensor: str = "sentinel2",
) -> ModelCard:  # fmt: skip
    """The card of a net that brings the last of its inputs to the grid of the first."""
    finest, target = inputs[0].gsd, inputs[-1]
    return ModelCard(
        name=name,
        arch=arch,
        sensor=sensor,
        inputs=tuple(inputs),
        output=Input(finest, target.bands),
        scale=target.gsd // finest,
        margin=margin,
        options=options,
        source=source,
    )


def _card(name: str, inputs: Sequence[Input], margin: int, features: int, blocks: int) -> ModelCard:
    options = {"features": features, "blocks": blocks}
    source = "Lanaras et al., ISPRS J. Photogramm. Remote Sens. 146 (2018)"
    return sharpener(name, "dsen2", inputs, margin, options, source=source)


TO_20 = (_GUIDE, _RED_EDGE_SWIR)
TO_60 = (_GUIDE, _RED_EDGE_SWIR, _ATMOSPHERE)
_CARDS = (
    _card("dsen2-20", TO_20, 16, 128, 6),
    _card("dsen2-60", TO_60, 18, 128, 6),
    _card("vdsen2-20", TO_20, 68, 256, 32),
    _card("vdsen2-60", TO_60, 72, 256, 32),
)
_PAPER = Recipe("l1", 16, 128, 200_000, "nadam", 1e-4, schedule="plateau", warmup=0, clip=0.0,
                ema=0.0)  # fmt: skip


def recipe(card: ModelCard) -> Recipe:
    """How guided nets are trained: 48 pixels of truth along a window, for the 60 m bands too."""
    return Recipe(patch=48 // card.scale, weight_decay=1e-4, warmup=300, jitter=0.1)


def _paper(card: ModelCard) -> Recipe:
    return replace(_PAPER, batch_size=128 if card.options["blocks"] == 6 else 8)


_OF_PAIRS = template(
    "dsen2-pair", build, source="Lanaras et al. 2018, for pairs of any sensor", reach=8, blend=0,
    options={"features": 128, "blocks": 6}, paper=_PAPER,
    recipe=Recipe(patch=24, weight_decay=1e-4, warmup=300, jitter=0.1),
)  # fmt: skip
DESIGNS = (
    *(guided(card, build, recipe=recipe(card), paper=_paper(card)) for card in _CARDS), _OF_PAIRS,
)  # fmt: skip
