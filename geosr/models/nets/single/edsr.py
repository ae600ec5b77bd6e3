"""EDSR: residual blocks without normalisation at the coarse size, then sub-pixel convolution.

Lim, Son, Kim, Nah, Lee, "Enhanced deep residual networks for single image super-resolution",
CVPR workshops 2017. Reference repository: sanghyun-son/EDSR-PyTorch.

    image − mean ─ conv ─┬─ n × [conv ReLU conv ·λ +] ─ conv ─ + ─ upsampler ─ conv ─ + mean
                         └─────────────────────────────────────┘

Every convolution is 3 × 3 with zero padding. The upsampler is one stage of conv and pixel shuffle
for ×2 and ×3, two of ×2 for ×4, three for ×8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, in unit values


def mean_of(bands: int) -> Tensor:
    """What nets take off their bands, (1, bands, 1, 1): the same of all but for three."""
    mean = RGB_MEAN if bands == 3 else (sum(RGB_MEAN) / 3,) * bands
    return torch.tensor(mean).view(1, -1, 1, 1)


class Residual(nn.Module):
    """x + λ · conv(ReLU(conv(x))), no activation after the sum; kernels are `side` wide, odd."""

    def __init__(self, features: int, scale: float = 1.0, *, side: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, side, padding=side // 2)
        self.second = nn.Conv2d(features, features, side, padding=side // 2)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.second(F.relu(self.first(x), inplace=True))


class Skip(nn.Module):
    """x + the layers' output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def factors(scale: int) -> list[int]:
    """Prime factors of a whole scale, smallest first; of 1 there are none."""
    found, left, prime = list[int](), scale, 2
    while left > 1:
        if left % prime:
            prime += 1
        else:
            found.append(prime)
            left //= prime
    return found


def upsampler(
    features: int, scale: int, activation: Callable[[], nn.Module] | None = None
) -> nn.Module:
    """Convolution and pixel shuffle for every prime factor; (…, s·rows, s·cols)."""
    layers: list[nn.Module] = []
    for factor in factors(scale):
        layers += [nn.Conv2d(features, features * factor**2, 3, padding=1)]
        layers += [nn.PixelShuffle(factor)]
        layers += [activation()] if activation else []
    return nn.Sequential(*layers)


class EDSR(nn.Module):
    """The net; 16 blocks of 64 features are the baseline, 32 of 256 with λ = 0.1 the full one.

    Maps (batch, bands, rows, cols) to (batch, bands, scale · rows, scale · cols), unit values.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 16, res: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.Sequential(
            *(Residual(features, res) for _ in range(blocks)),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.up = upsampler(features, scale)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        x = self.up(x + self.body(x))  # (batch, features, s·rows, s·cols)
        return self.tail(x) + self.mean


def build(card: ModelCard) -> EDSR:
    """The untrained net of a card."""
    return EDSR(len(card.bands), card.scale, **card.options)


_SOURCE = "Lim et al., CVPR workshops 2017"
_PAPER = Recipe("l1", 48, 16, 300_000, "adam", 1e-4, schedule="step", period=200_000, warmup=0,
                clip=0.0, ema=0.0)  # fmt: skip
DESIGNS = (
    Design("edsr-baseline", "sisr", "edsr", build, {2: 36, 3: 36, 4: 36, 8: 36}, 2, _SOURCE,
           options={"features": 64, "blocks": 16, "res": 1.0}, paper=_PAPER),
    Design("edsr", "sisr", "edsr", build, {2: 68, 3: 68, 4: 68, 8: 68}, 2, _SOURCE,
           options={"features": 256, "blocks": 32, "res": 0.1},
           recipe=Recipe(batch_size=4, lr=1e-4), paper=_PAPER),
)  # fmt: skip
