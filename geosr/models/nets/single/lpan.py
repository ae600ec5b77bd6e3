"""LPAN: residual blocks that project up and down at eight, four and two times the size.

A net of 12 blocks, inspired by Laplacian pyramids. Reference repository:
GianpieroTulipani/image_super_resolution.

    image ─ conv ReLU ─ conv ReLU ─ conv* ReLU ─┐
    ┌───────────────────────────────────────────┘
    ├─ stage(8, 2) ─ residual ─ stage(4, 4) ─ residual ─ stage(2, 6) ─ residual ─ deconv ×2 ─┐
    │      maps                    maps                     maps                             │
    │       │                       │                        │                               │
    └─ ×8 ─ + ──────── conv† ────── + ──────── conv† ─────── + ───────────────────────────── + ─┐
                                          ┌─────────────────────────────────────────────────────┘
                                          └─ [up] ─ conv* ReLU ─ conv ─ image ×2

    block(r):  up = deconv r (x);  d = x − conv r (up);  gives up and d + SE(3 × [conv‡ ReLU] (d))
    stage(r, n):  n ups side by side ─ conv ReLU, beside the last block's residual

*, †, ‡: one convolution each, used again. SE is squeeze-excitation, which pools over the whole
window. `lpan` hands every block the residual of the one before, and its blocks have weights of
their own. `lpan-reference` is the repository's code as it runs: one block per stage, given the same
input every time, so that the n maps are the same. [up] is empty at ×2; at ×4, conv and pixel
shuffle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.edsr import upsampler

STAGES = ((8, 2), (4, 4), (2, 6))  # factor over the input's size, blocks


class _Excitation(nn.Module):
    """x times one weight per feature, from the means over the whole window."""

    def __init__(self, features: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(features, squeezed)
        self.excite = nn.Linear(squeezed, features)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * weight[:, :, None, None]  # (batch, features, 1, 1)


class Block(nn.Module):
    """Up by `factor` and down again; gives the map above and what the way lost, refined."""

    def __init__(self, features: int, factor: int) -> None:
        super().__init__()
        self.up = _raiser(features, factor)
        self.down = nn.Conv2d(features, features, 3, stride=factor, padding=1)
        self.refine = nn.Conv2d(features, features, 3, padding=1)
        self.excitation = _Excitation(features, max(features // 16, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        up = self.up(x)  # (batch, features, factor·rows, factor·cols)
        residual = x - self.down(up)
        refined = residual
        for _ in range(3):
            refined = F.relu(self.refine(refined))
        return up, residual + self.excitation(refined)


class Stage(nn.Module):
    """`count` blocks of one factor, their maps joined.

    Args:
        share: one block stands for all.
        chain: each block takes the residual of the one before; otherwise all the same input.
    """

    def __init__(self, features: int, factor: int, count: int, *, share: bool, chain: bool) -> None:
        super().__init__()
        own = 1 if share else count
        self.blocks = nn.ModuleList(Block(features, factor) for _ in range(own))
        self.join = nn.Conv2d(count * features, features, 3, padding=1)
        self.count, self.chain = count, chain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The joined map, and the last residual."""
        ups, residual = self.maps(x)
        joined = torch.cat(ups, 1)  # (batch, count · features, factor·rows, factor·cols)
        return F.relu(self.join(joined)), residual

    def maps(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Every block's map, and the last residual."""
        if not self.chain and len(self.blocks) == 1:  # the same again and again: once will do
            up, residual = self.blocks[0](x)
            return [up] * self.count, residual
        ups, residual = [], x
        for i in range(self.count):
            up, residual = self.blocks[i % len(self.blocks)](residual if self.chain else x)
            ups.append(up)
        return ups, residual


class LPAN(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values."""

    def __init__(
        self, bands: int, scale: int, *, features: int = 128, share: bool = False,
        chain: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = nn.Conv2d(bands, 4 * features, 3, padding=1)
        self.second = nn.Conv2d(4 * features, features, 3, padding=1)
        self.third = nn.Conv2d(features, features, 3, padding=1)
        self.stages = nn.ModuleList(
            Stage(features, factor, count, share=share, chain=chain) for factor, count in STAGES
        )
        self.skip = _raiser(features, 8)
        self.halve = nn.Conv2d(features, features, 3, stride=2, padding=1)
        self.last = _raiser(features, 2)
        self.up = upsampler(features, scale // 2)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(image))))
        x = F.relu(self.third(x))
        above = self.skip(x)  # (batch, features, 8·rows, 8·cols)
        for i, stage in enumerate(self.stages):
            joined, x = stage(x)
            above = joined + (self.halve(above) if i else above)  # 8, 4, 2 times the size
        x = self.up(above + self.last(x))
        return self.tail(F.relu(self.third(x)))


def _raiser(features: int, factor: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(features, features, factor + 2, stride=factor, padding=1)


def build(card: ModelCard) -> LPAN:
    """The untrained net of a card."""
    return LPAN(len(card.bands), card.scale, **card.options)


# Maps at eight times the size cost some 36 million products per input pixel: small patches.
_RECIPE = Recipe("dssim+0.1*l1", 12, 1, lr=2e-4)
_PAPER = Recipe("dssim", 64, 16, 25_600, "adamw", 1e-4, weight_decay=0.01, schedule="step",
                period=12_800, gamma=0.1, warmup=0, clip=0.0, ema=0.0)  # fmt: skip
# Squeeze-excitation sees the whole window: the reach is only what tiles read around their core.
DESIGNS = (
    Design("lpan-reference", "sisr", "lpan", build, {2: 17}, 2,
           "GianpieroTulipani/image_super_resolution, as its code runs",
           blend=8, options={"features": 128, "share": True, "chain": False},
           recipe=_RECIPE, paper=_PAPER),
    Design("lpan", "sisr", "lpan", build, {2: 24, 4: 24}, 2,
           "GianpieroTulipani/image_super_resolution, as described", blend=8,
           options={"features": 128, "share": False, "chain": True},
           recipe=_RECIPE, paper=_PAPER),
)  # fmt: skip
