"""Bicubic interpolation as a model: the same path with no net, the baseline everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ANY_SCALE, Input, ModelCard
from geosr.models.design import Design, guided
from geosr.models.nets.continuous.places import Places, bicubic
from geosr.models.nets.guided.classical import CUBIC, template


class Bicubic(nn.Module):
    """Cubic convolution with a = −0.75 (torch's) and half-pixel centres.

    Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29
    (1981); a = −0.5 there.

    Args:
        a: −0.75, or −0.5, which torch takes where it is to avoid aliasing; enlarging, the kernels
            are otherwise alike, but for the two outermost input pixels.
    """

    def __init__(self, gsd: int, factor: int, *, a: float = -0.75) -> None:
        super().__init__()
        if a not in (-0.75, -0.5):
            raise ValueError(f"bicubic with a = {a}: only -0.75 and -0.5 are offered")
        self.gsd, self.factor, self.antialias = gsd, factor, a == -0.5
        self.reach = CUBIC  # coarse pixels beyond its own

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, rows, cols) of the coarse bands to `factor` times as many pixels."""
        return F.interpolate(
            inputs[self.gsd], scale_factor=self.factor, mode="bicubic", align_corners=False,
            antialias=self.antialias,
        )  # fmt: skip


def build(card: ModelCard) -> Bicubic:
    """The interpolator of a card."""
    return Bicubic(card.native_gsd, card.scale)


def _card(gsd: int, bands: tuple[str, ...], to: int = 10) -> ModelCard:
    factor = gsd // to
    return ModelCard(
        name=f"bicubic-{gsd}",
        arch="bicubic",
        sensor="sentinel2",
        inputs=(Input(gsd, bands),),
        output=Input(to, bands),
        scale=factor,
        margin=2 * factor,
        source="cubic convolution, a = -0.75",
    )


class _Enlarge(nn.Module):
    """The same for one image of any raster, unit values."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)


class _Anywhere(nn.Module):
    """The same by any factor."""

    def forward(self, x: Tensor, places: Places) -> Tensor:
        return bicubic(x, places)


def build_any(card: ModelCard) -> nn.Module:
    """The interpolator of a card for any raster."""
    return _Anywhere() if card.continuous else _Enlarge(card.scale)


DESIGNS = (
    guided(_card(10, ("B2", "B3", "B4", "B8"), 5), build),
    guided(_card(20, ("B5", "B6", "B7", "B8A", "B11", "B12")), build),
    guided(_card(60, ("B1", "B9")), build),
    template("bicubic-pair", build, source="cubic convolution, a = -0.75", guides=False),
    Design("bicubic", "sisr", "bicubic-any", build_any,
           {2: 2, 3: 2, 4: 2, 6: 2, 8: 2, ANY_SCALE: 2}, 2, "cubic convolution, a = -0.75"),
)  # fmt: skip
