"""SRResNet without batch normalisation: residual blocks that give what bilinear misses.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial
network", CVPR 2017, in the variant that Wang et al. call MSRResNet. Reference repository:
XPixelGroup/BasicSR.

    image ─┬─ conv LReLU ─ n × [conv ReLU conv +] ─ upsampler LReLU ─ conv LReLU ─ conv ─ + ─
           └────────────────────────── bilinear ×s ───────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding; leaky ReLUs have the slope 0.1. There is no skip over
the body.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.single.edsr import Residual, upsampler


class _Leaky(nn.LeakyReLU):
    def __init__(self) -> None:
        super().__init__(0.1)


class SRResNet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 16, frames: int = 1
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(bands * frames, features, 3, padding=1), _Leaky())
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.up = upsampler(features, scale, _Leaky)
        self.tail = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            _Leaky(),
            nn.Conv2d(features, bands, 3, padding=1),
        )

    def forward(self, x: Tensor, clear: Tensor | None = None) -> Tensor:
        """Of several frames (batch, frames, bands, rows, cols) all bands at once.

        Unclear pixels are taken from the first frame that is clear there. What it adds to is the
        mean of the pixels that are clear.
        """
        if clear is not None:
            share = clear + 1e-6
            mean = (x * share).sum(1) / share.sum(1)
            return self._added(mended(x, clear).flatten(1, 2), mean)
        return self._added(x, x)

    def _added(self, x: Tensor, low: Tensor) -> Tensor:
        skip = F.interpolate(low, scale_factor=self.scale, mode="bilinear", align_corners=False)
        x = self.up(self.body(self.head(x)))  # (batch, features, s·rows, s·cols)
        return skip + self.tail(x)


def build(card: ModelCard) -> SRResNet:
    """The untrained net of a card."""
    return SRResNet(len(card.bands), card.scale, frames=card.frames, **card.options)


DESIGNS = (
    Design("srresnet", "sisr", "srresnet", build, {2: 35, 3: 35, 4: 35, 8: 35}, 4,
           "Ledig et al., CVPR 2017",
           options={"features": 64, "blocks": 16},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("l1", 32, 16, 1_000_000, "adam", 2e-4, warmup=0, clip=0.0, ema=0.0)),
    Design("srresnet-series", "misr", "srresnet", build, {2: 35, 3: 35, 4: 35, 8: 35}, 4,
           "Ledig et al., CVPR 2017; eight frames stacked as channels", frames=8,
           options={"features": 64, "blocks": 16},
           recipe=Recipe(patch=16, batch_size=4)),
)  # fmt: skip
