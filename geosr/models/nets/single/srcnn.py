"""SRCNN: three convolutions over the image enlarged by bicubic interpolation.

Dong, Loy, He, Tang, "Learning a deep convolutional network for image super-resolution", ECCV 2014.
A public implementation: Lornatang/SRCNN-PyTorch.

    image ─ bicubic ×s ─ conv 9 × 9 ReLU ─ conv 1 × 1 ReLU ─ conv 5 × 5
                               64                32            bands

Zero padding. There is no skip: the net learns the whole image.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe


class SRCNN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        narrow: features after the second convolution.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, narrow: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.extract = nn.Conv2d(bands, features, 9, padding=4)
        self.map = nn.Conv2d(features, narrow, 1)
        self.rebuild = nn.Conv2d(narrow, bands, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        x = F.relu(self.extract(x), inplace=True)  # (batch, features, s·rows, s·cols)
        return self.rebuild(F.relu(self.map(x), inplace=True))


def build(card: ModelCard) -> SRCNN:
    """The untrained net of a card."""
    return SRCNN(len(card.bands), card.scale, **card.options)


# Published: patches of 33 output pixels at ×3, plain momentum descent. Adam stands in for it.
DESIGNS = (
    Design("srcnn", "sisr", "srcnn", build, {2: 5, 3: 4, 4: 3, 8: 3}, 3, "Dong et al., ECCV 2014",
           options={"features": 64, "narrow": 32},
           recipe=Recipe(batch_size=16, lr=1e-3),
           paper=Recipe("mse", 11, 128, 1_000_000, "adam", 1e-4, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
