"""LapSRN and MS-LapSRN: a Laplacian pyramid, one level per factor of two, each an image of its own.

Lai, Huang, Ahuja, Yang, "Deep Laplacian pyramid networks for fast and accurate super-resolution",
CVPR 2017; the same, "Fast and accurate image super-resolution with deep Laplacian pyramid
networks", TPAMI 2018. Reference repositories: phoenix104104/LapSRN, phoenix104104/MSLapSRN.

    image ─ conv LReLU ─ d × [conv LReLU] ─ deconv LReLU ─┬─ d × [conv LReLU] ─ deconv LReLU ─┬─ …
      │                                                  conv                                conv
      └─────────────────── deconv 4 × 4 ───────────────── + ─┬──────── deconv 4 × 4 ───────── + ─ …
                                                         image ×2                        image ×4

MS-LapSRN has one level, used again and again, with r recursions of one block before the deconv:

    x ─┬─ [d × (LReLU conv)] ─ + ─ [the same] ─ + ─ … ─ LReLU deconv
       └───────────────────────┴────────────────┴─ …

Convolutions are 3 × 3 with zero padding. The features' transposed convolutions are 3 × 3 too,
their last row and column cropped; the images' ones start out bilinear, each band by itself.
While training the nets give every level, coarsest first; otherwise the finest alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_SLOPE = 0.2  # of the leaky ReLUs


class _Double(nn.Module):
    """Transposed convolution 3 × 3 of stride 2, cropped to exactly twice the size."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(features, features, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(x)[..., :-1, :-1]  # (batch, features, 2·rows + 1 - 1, 2·cols + 1 - 1)


class _Recursive(nn.Module):
    """One block applied `recursions` times, the input added every time (shared-source skip)."""

    def __init__(self, features: int, depth: int, recursions: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(features, features, 3, padding=1) for _ in range(depth)
        )
        self.recursions = recursions

    def forward(self, x: Tensor) -> Tensor:
        source = x
        for _ in range(self.recursions):
            for conv in self.convs:
                x = conv(F.leaky_relu(x, _SLOPE))
            x = x + source
        return x


class _Level(nn.Module):
    """Features and image at twice the size; the features give what bilinear misses."""

    def __init__(self, bands: int, features: int, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Conv2d(features, bands, 3, padding=1)
        self.image = nn.ConvTranspose2d(bands, bands, 4, 2, padding=1, groups=bands, bias=False)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)  # (batch, features, 2·rows, 2·cols)
        with torch.autocast(x.device.type, enabled=False):  # the image keeps its precision
            return x, self.image(image) + self.head(x.to(image.dtype))


class LapSRN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        levels: from coarse to fine.
        passes: how often each is used before the next.
    """

    def __init__(
        self, bands: int, features: int, levels: Sequence[_Level], passes: int = 1
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.levels = nn.ModuleList(levels)
        self.passes = passes
        self._initialise(features)

    def _initialise(self, features: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * features)))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=1e-3)
        tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for level in self.levels:
            level.image.weight.data.copy_(torch.outer(tent, tent))  # type: ignore[union-attr, operator]

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        x = self._start(image)
        images = []
        for level in self.levels:
            for _ in range(self.passes):
                x, image = level(x, image)
                images.append(image)
        return images if self.training else image

    def _start(self, image: Tensor) -> Tensor:
        return F.leaky_relu(self.head(image), _SLOPE)


class MSLapSRN(LapSRN):
    """The net that shares one level; its first convolution has no activation, the blocks do."""

    def _start(self, image: Tensor) -> Tensor:
        return self.head(image)


def build(card: ModelCard) -> LapSRN:
    """The untrained net of a `lapsr` card."""
    return _lapsr(len(card.bands), _doublings(card), **card.options)


def build_shared(card: ModelCard) -> MSLapSRN:
    """The untrained net of an `ms-lapsr` card."""
    return _ms_lapsr(len(card.bands), _doublings(card), **card.options)


def _doublings(card: ModelCard) -> int:
    return card.scale.bit_length() - 1


def _lapsr(bands: int, doublings: int, *, features: int = 64, depth: int = 10) -> LapSRN:
    def body() -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        return nn.Sequential(*layers, _Double(features), nn.LeakyReLU(_SLOPE))

    return LapSRN(bands, features, [_Level(bands, features, body()) for _ in range(doublings)])


def _ms_lapsr(
    bands: int, doublings: int, *, features: int = 64, depth: int = 5, recursions: int = 8
) -> MSLapSRN:
    body = nn.Sequential(
        _Recursive(features, depth, recursions), nn.LeakyReLU(_SLOPE), _Double(features)
    )
    return MSLapSRN(bands, features, [_Level(bands, features, body)], doublings)


# Published rates (1e-5, 5e-6) belong to momentum descent on errors summed over a patch; Adam on
# their mean takes 1e-4. LapSRN's falls to a tenth and stays: three halvings over the run.
DESIGNS = (
    Design("lapsr", "sisr", "lapsr", build, {2: 12, 4: 17, 8: 20}, 4, "Lai et al., CVPR 2017",
           options={"features": 64, "depth": 10}, aliases=("lapsrn",),
           recipe=Recipe("charbonnier", 16, 8, lr=1e-3),
           paper=Recipe("charbonnier", 32, 64, 100_000, "adam", 1e-4, weight_decay=1e-4,
                        schedule="step", period=30_000, warmup=0, clip=0.0, ema=0.0)),
    Design("ms-lapsr", "sisr", "ms-lapsr", build_shared, {2: 42, 4: 62, 8: 72}, 4,
           "Lai et al., TPAMI 2018",
           options={"features": 64, "depth": 5, "recursions": 8},
           recipe=Recipe("charbonnier", 12, 2, lr=5e-4),
           paper=Recipe("charbonnier", 32, 64, 300_000, "adam", 1e-4, weight_decay=1e-4,
                        schedule="step", period=100_000, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
