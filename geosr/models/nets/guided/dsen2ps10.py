"""dsen2-ps-10: Sentinel-2's 10 m bands at 5 m, from these bands alone.

geosr's own, the trunk of dsen2-ps without finer bands beside it. It learns one scale down: the
10 m bands, seen at 20 m as the sensor would see them there, are to give the 10 m bands. Nothing at
5 m was ever seen.

    d10 (4) ─┬─ conv ReLU ─ d × [conv ReLU conv +] ─ conv ─ shuffle 2 ─ + ─ output (4) at 5 m
             └─ ↑2, bicubic ────────────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding; ↑ is bicubic, a = −0.75, with half-pixel centres.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import Input, ModelCard
from geosr.models.design import Recipe, guided
from geosr.models.nets.guided.dsen2 import DN, TO_20, entered
from geosr.models.nets.guided.dsen2ps import Residual, raised

_BANDS = TO_20[0].bands


class DSen2PS10(nn.Module):
    """The net: counts at 10 m to counts at 5 m."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.gsd, self.factor = card.native_gsd, card.scale
        features, count = card.options["features"], len(card.bands)
        self.head = nn.Conv2d(count, features, 3, padding=1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(card.options["blocks"])))
        self.tail = nn.Conv2d(features, count * self.factor**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, 4, 2 · rows, 2 · cols); the residual may run in low precision, the skip not."""
        x = inputs[self.gsd]
        residual = self.tail(self.body(entered(self.head, x / DN)))  # (batch, 16, rows, cols)
        return raised(x, self.factor) + F.pixel_shuffle(residual, self.factor).to(x.dtype) * DN


_CARD = ModelCard(
    name="dsen2-ps-10",
    arch="dsen2-ps-10",
    sensor="sentinel2",
    inputs=(Input(10, _BANDS),),
    output=Input(5, _BANDS),
    scale=2,
    margin=28,
    options={"features": 64, "blocks": 6},
    source="geosr; learnt one scale down, from 20 m to 10 m",
)
_RECIPE = Recipe(patch=48, batch_size=8, lr=6e-4, weight_decay=1e-4, warmup=300, jitter=0.2)
DESIGNS = (guided(_CARD, DSen2PS10, recipe=_RECIPE),)
