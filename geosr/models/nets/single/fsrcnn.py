"""FSRCNN: shrink, map and expand at the coarse size, then one transposed convolution.

Dong, Loy, Tang, "Accelerating the super-resolution convolutional neural network", ECCV 2016.
A public implementation: Lornatang/FSRCNN-PyTorch.

    image ─ conv 5 × 5 ─ conv 1 × 1 ─ 4 × [conv 3 × 3] ─ conv 1 × 1 ─ deconv 9 × 9, stride s
                56           12              12              56            bands

A PReLU with one slope per feature follows every convolution. Zero padding.
"""

from __future__ import annotations

from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_KERNEL = 9  # of the transposed convolution


class FSRCNN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        narrow: features after shrinking.
        depth: convolutions between shrinking and expanding.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 56, narrow: int = 12, depth: int = 4
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(bands, features, 5),
            *_conv(features, narrow, 1),
            *(layer for _ in range(depth) for layer in _conv(narrow, narrow, 3)),
            *_conv(narrow, features, 1),
        )
        self.deconv = _enlarge(features, bands, scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(self.body(x))  # (batch, bands, s·rows, s·cols)


def _conv(narrow: int, wide: int, side: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(narrow, wide, side, padding=side // 2), nn.PReLU(wide)


def _enlarge(features: int, bands: int, scale: int) -> nn.ConvTranspose2d:
    """Exactly s times the size, the kernel's middle over that of the s outputs of a pixel.

    Those lie from 0 to s - 1, and half of that is whole for odd s only: otherwise it is the one
    before, and a row and a column are added at the end.
    """
    return nn.ConvTranspose2d(
        features, bands, _KERNEL, stride=scale, padding=_KERNEL // 2 - (scale - 1) // 2,
        output_padding=(scale - 1) % 2,
    )  # fmt: skip


def build(card: ModelCard) -> FSRCNN:
    """The untrained net of a card."""
    return FSRCNN(len(card.bands), card.scale, **card.options)


# Published: patches of 7 coarse pixels at ×3, plain momentum descent. Adam stands in for it.
DESIGNS = (
    Design("fsrcnn", "sisr", "fsrcnn", build, {2: 8, 3: 7, 4: 7, 8: 7}, 3,
           "Dong et al., ECCV 2016",
           options={"features": 56, "narrow": 12, "depth": 4},
           recipe=Recipe(batch_size=16, lr=1e-3),
           paper=Recipe("mse", 7, 128, 1_000_000, "adam", 1e-3, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
