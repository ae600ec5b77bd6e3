"""Bicubic interpolation as a model: the same path with no net, the baseline everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import Input, ModelCard


class Bicubic(nn.Module):
    """Cubic convolution with a = −0.75 (torch's) and half-pixel centres.

    Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29
    (1981); a = −0.5 there.
    """

    def __init__(self, gsd: int, factor: int) -> None:
        super().__init__()
        self.gsd, self.factor = gsd, factor

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, rows, cols) of the coarse bands to `factor` times as many pixels."""
        return F.interpolate(
            inputs[self.gsd], scale_factor=self.factor, mode="bicubic", align_corners=False
        )


def build(card: ModelCard) -> Bicubic:
    """The interpolator of a card."""
    return Bicubic(card.native_gsd, card.scale)


def _card(gsd: int, bands: tuple[str, ...]) -> ModelCard:
    factor = gsd // 10
    return ModelCard(
        name=f"bicubic-{gsd}",
        arch="bicubic",
        sensor="sentinel2",
        inputs=(Input(gsd, bands),),
        output=Input(10, bands),
        scale=factor,
        margin=2 * factor,
        source="cubic convolution, a = -0.75",
    )


CARDS = (
    _card(20, ("B5", "B6", "B7", "B8A", "B11", "B12")),
    _card(60, ("B1", "B9")),
)
