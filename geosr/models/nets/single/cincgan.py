"""CinCGAN: clean the coarse image first, then enlarge it; made to learn from unpaired images.

Yuan et al., "Unsupervised image super-resolution using cycle-in-cycle generative adversarial
networks", CVPR workshops 2018; no public repository. `geosr train --unpaired cincgan` has the
cycles and the discriminators around it.

    image ─┬─ translator ─ + ─ clean image ─ EDSR baseline ─ image ×s
           └───────────────┘

A translator is conv7, two conv3, six residual blocks, two conv3, conv7, leaky ReLU 0.2 between:
609,731 numbers for three bands; the one that enlarges nothing but shrinks has 4 × 4 convolutions of
stride 2 in the place of the first two (667,075 at ×4). The skip over it, and its last layer being
zero at first, are ours: a net that begins by changing nothing needs no training to get there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import EDSR, Skip, factors

_SLOPE = 0.2


class Translator(nn.Module):
    """From one kind of image to another: what is to be added to it, or to its smaller self.

    Maps (batch, bands, rows, cols) to as many bands on the grid that the strides leave.

    Args:
        strides: of the two convolutions behind the first, or more of them.
    """

    def __init__(
        self, bands: int, strides: Sequence[int] = (1, 1), *, features: int = 64, blocks: int = 6
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv(bands, features, 7)]
        for stride in strides:  # rows and cols divided by the stride, where they can be
            layers += _conv(features, features, stride + 2, stride)
        for _ in range(blocks):
            layers += [Skip(*_conv(features, features, 3), _plain(features, features, 3))]
        layers += [*_conv(features, features, 3), *_conv(features, features, 3)]
        last = _plain(features, bands, 7)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class CinCGAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    In training mode it gives the clean image too, as a pyramid's first level.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 16, cleaning: int = 6
    ) -> None:
        super().__init__()
        self.clean = Translator(bands, features=features, blocks=cleaning)
        self.body = EDSR(bands, scale, features=features, blocks=blocks)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        change = self.clean(x)
        with torch.autocast(x.device.type, enabled=False):  # the image keeps its precision
            clean = x + change.to(x.dtype)
        fine: Tensor = self.body(clean)
        return [clean, fine] if self.training else fine


def strides(scale: int) -> tuple[int, ...]:
    """Strides of a translator that makes an image `scale` times coarser: its prime factors."""
    found = factors(scale)
    return (*found, *[1] * (2 - len(found)))


def _plain(narrow: int, wide: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, side, stride, padding=1 if stride > 1 else side // 2)


def _conv(narrow: int, wide: int, side: int, stride: int = 1) -> list[nn.Module]:
    return [_plain(narrow, wide, side, stride), nn.LeakyReLU(_SLOPE)]


def build(card: ModelCard) -> CinCGAN:
    """The untrained net of a card."""
    return CinCGAN(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("cincgan", "sisr", "cincgan", build, {2: 58, 3: 58, 4: 58, 8: 58}, 2,
           "Yuan et al., CVPR workshops 2018",
           options={"features": 64, "blocks": 16, "cleaning": 6},
           recipe=Recipe(batch_size=4),
           paper=Recipe("mse", 32, 16, 400_000, "adam", 2e-4, schedule="step", period=40_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
