"""HAN and SRE-HAN: RCAN whose groups look at each other, and whose last features weigh themselves.

Niu, Wen, Ren, Zhang, Yang, Wang, Zhang, Cao, Shen, "Single image super-resolution via a holistic
attention network", ECCV 2020; the squeeze of SRE-HAN by its reference repository
(sre_han_simd.py), which has no licence: facts alone are taken from there.

    image − mean ─ conv ─┬─ 10 groups ─ conv ─┬─ gate ──────────┐
                         │      │             │                 concat ─ conv ─ + ─ upsampler ─ conv
                         │      └─ all ───────┴─ layers ─ conv ─┘               │
                         └──────────────────────────────────────────────────────┘
    groups  RCAN's; SRE-HAN squeezes to 48 of 64 features and gives x + γ · weight · x
    layers  the groups' outputs and the last, newest first: softmax(max E − E) · all · γ + all,
            E = every two's product over all features and pixels
    gate    x + γ · sigmoid(3 × 3 × 3 convolution over features, rows and cols) · x

Every γ is one number, 0 at first. Convolutions are 3 × 3 with zero padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import mean_of, upsampler
from geosr.models.nets.single.rcan import ChannelAttention, group


class _Squeeze(ChannelAttention):
    """x + γ times x weighted by its means, squeezed to three quarters of the features."""

    def __init__(self, features: int) -> None:
        super().__init__(features, squeezed=max(features * 3 // 4, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * super().forward(x)


class _Layers(nn.Module):
    """Layers' maps, (batch, layers, features, rows, cols), as each looks at the others."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2).float()  # (batch, layers, features · rows · cols)
        energy = flat @ flat.mT
        weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
        return x + self.gamma * (weights @ flat).view_as(x).to(x.dtype)


class _Gate(nn.Module):
    """x weighted by what is near it, in features as in rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * torch.sigmoid(self.conv(x.unsqueeze(1)).squeeze(1)) * x


class HAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        groups: residual groups.
        blocks: residual blocks in each.
        reduction: how many times fewer features RCAN's attention squeezes them to; 0 is SRE-HAN's.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, groups: int = 10, blocks: int = 20,
        reduction: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)

        def attention() -> nn.Module:
            return ChannelAttention(features, reduction) if reduction else _Squeeze(features)

        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.body = nn.ModuleList(group(features, blocks, attention) for _ in range(groups))
        self.body.append(nn.Conv2d(features, features, 3, padding=1))
        self.layers, self.gate = _Layers(), _Gate()
        self.merge = nn.Conv2d((groups + 1) * features, features, 3, padding=1)
        self.end = nn.Conv2d(2 * features, features, 3, padding=1)
        self.up = upsampler(features, scale)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        maps = [x]
        for part in self.body:
            maps.append(part(maps[-1]))
        seen = self.merge(self.layers(torch.stack(maps[:0:-1], 1)).flatten(1, 2))
        both = torch.cat([self.gate(maps[-1]), seen], 1)  # (batch, 2 · features, rows, cols)
        return self.tail(self.up(x + self.end(both))) + self.mean


def build(card: ModelCard) -> HAN:
    """The untrained net of a card."""
    return HAN(len(card.bands), card.scale, **card.options)


# Means and products over the whole window: tiles can only agree by blending, as RCAN's.
_REACH = {2: 32, 3: 32, 4: 32, 8: 32}
_RECIPE = Recipe(patch=16, batch_size=2, lr=2e-4)
_PAPER = Recipe("l1", 48, 16, 1_000_000, "adam", 1e-4, schedule="step", period=200_000, warmup=0,
                clip=0.0, ema=0.0)  # fmt: skip
DESIGNS = tuple(
    Design(name, "sisr", "han", build, _REACH, 4, source, blend=8, aliases=aliases,
           options={"features": 64, "groups": 10, "blocks": 20, "reduction": reduction},
           recipe=_RECIPE, paper=_PAPER)
    for name, reduction, source, aliases in (
        ("han", 16, "Niu et al., ECCV 2020", ()),
        ("srehan", 0, "SRE-HAN, squeeze with residual excitation in HAN", ("sre-han",)),
    )
)  # fmt: skip
