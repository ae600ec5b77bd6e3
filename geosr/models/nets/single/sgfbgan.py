"""SG-FBGAN's generator: one block fed its own output, apart for salient places and the others.

Wu et al., "Saliency-guided feedback GAN for remote sensing image super-resolution" (2020).
Reference repository: hanlinwu/SG-FBGAN, models/va_fbgan.py (no licence: facts only).

    image ─ conv ─ conv1 = F ─ 3 × [F beside what came out ─┬─ · s ─ dense ───── +] ─ deconv ─ conv
                                                            └─ · (1 − s) ─ dense ┘
    dense:  2 × [3 × (conv LReLU BN LReLU, beside all before) ─ conv1 LReLU BN LReLU ─ +] ─ conv1

Widths 128, 32, and 64 within; the block and the reconstruction are the same in every turn, and
every turn's image is judged in training. 672,417 numbers for one band at ×4. The repository reads
the saliency s from files and ends in tanh; here s is made of the image: the length of its gradient
g, over g and its mean of 15 × 15 pixels, and the end is linear, as reflectance has no bound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_SLOPE = 0.2
_AROUND = 15  # pixels of the mean that a gradient is compared with


class _Block(nn.Module):
    """Three convolutions, each of all before it, and x + a 1 × 1 convolution of the three."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_layer(wide * max(j, 1), wide, 3) for j in range(3))
        self.join = _layer(3 * wide, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        new: list[Tensor] = []
        for conv in self.convs:
            new.append(conv(torch.cat(new, 1) if new else x))
        joined: Tensor = self.join(torch.cat(new, 1))
        return x + joined


class _Dense(nn.Module):
    """Two blocks one after the other, and a 1 × 1 convolution of both; 2·n features to n."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(2 * n) for _ in range(2))
        self.last = nn.Conv2d(4 * n, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.blocks[0](x)
        both = torch.cat([first, self.blocks[1](first)], 1)  # (batch, 4 · n, rows, cols)
        return F.leaky_relu(self.last(both), _SLOPE)


class SGFBGAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    In training it gives the images of all turns, the last one last.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 32, turns: int = 3) -> None:
        super().__init__()
        self.turns = turns
        self.head = nn.Sequential(
            nn.Conv2d(bands, 4 * features, 3, padding=1), nn.LeakyReLU(_SLOPE),
            nn.Conv2d(4 * features, features, 1), nn.LeakyReLU(_SLOPE),
        )  # fmt: skip
        self.salient, self.other = _Dense(features), _Dense(features)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(features, features, scale, scale), nn.LeakyReLU(_SLOPE),
            nn.Conv2d(features, bands, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        share = saliency(x)
        first = self.head(x)
        fed, images = first, []
        for turn in range(self.turns):
            both = torch.cat([first, fed], 1)
            fed = self.salient(both * share) + self.other(both * (1 - share))
            if self.training or turn == self.turns - 1:
                images.append(self.up(fed))  # (batch, bands, s·rows, s·cols)
        return images if self.training else images[-1]


def saliency(x: Tensor) -> Tensor:
    """(batch, 1, rows, cols) in 0 to 1: how much a place's gradient stands out around it."""
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    down = grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    across = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]
    length = (down.square() + across.square() + 1e-12).sqrt()
    around = F.avg_pool2d(length, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    return length / (length + around)


def _layer(narrow: int, wide: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, side, padding=side // 2), nn.LeakyReLU(_SLOPE),
        nn.BatchNorm2d(wide), nn.LeakyReLU(_SLOPE),
    )  # fmt: skip


def build(card: ModelCard) -> SGFBGAN:
    """The untrained net of a card."""
    return SGFBGAN(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("sg-fbgan", "sisr", "sg-fbgan", build, {2: 27, 3: 27, 4: 27, 8: 27}, 4,
           "Wu et al. 2020, SG-FBGAN",
           options={"features": 32, "turns": 3},
           recipe=Recipe("charbonnier", patch=16, batch_size=4, lr=1e-3)),
)  # fmt: skip
