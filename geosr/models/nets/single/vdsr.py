"""VDSR: twenty convolutions that give what bicubic interpolation misses.

Kim, Lee, Lee, "Accurate image super-resolution using very deep convolutional networks", CVPR 2016.
A public implementation: Lornatang/VDSR-PyTorch.

    image ─ bicubic ×s ─┬─ conv ReLU ─ 18 × [conv ReLU] ─ conv ─ + ─
                        └────────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding, at the fine size.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe


class VDSR(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        depth: convolutions in all.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, depth: int = 20) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for narrow in [bands] + [features] * (depth - 2):
            layers += [_conv(narrow, features), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, bands, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return x + self.body(x)  # (batch, bands, s·rows, s·cols)


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    """He's initialisation: with the default one so deep a chain of ReLUs fades to nothing."""
    conv = nn.Conv2d(narrow, wide, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def build(card: ModelCard) -> VDSR:
    """The untrained net of a card."""
    return VDSR(len(card.bands), card.scale, **card.options)


# Published: patches of 41 output pixels of all scales mixed, momentum descent at 0.1 with clipped
# gradients, a tenth every 20 of 80 epochs. Adam stands in for it, one scale at a time.
DESIGNS = (
    Design("vdsr", "sisr", "vdsr", build, {2: 12, 3: 8, 4: 7, 8: 4}, 2, "Kim et al., CVPR 2016",
           options={"features": 64, "depth": 20},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("mse", 20, 64, 80_000, "adam", 1e-3, weight_decay=1e-4, schedule="step",
                        period=20_000, gamma=0.1, warmup=0, clip=0.4, ema=0.0)),
)  # fmt: skip
