"""HAUNet: a U of hybrid attention, between features at every size, between pixels at the finest.

Wang, Wang, Zhao, Wang, Yang, "Hybrid attention-based U-shaped network for remote sensing image
super-resolution", IEEE Trans. Geosci. Remote Sens. 61 (2023). Reference repository:
likakakaka/HAUNet_RSISR.

    image − mean ─ conv ─ 5 pixel blocks ─┬─────────── across ─────────── + ─ 5 pixel blocks ─ tail
                                     ½ conv                          2 × deconv
                                          └ 5 blocks ─┬─ across ─ + ─ 5 blocks
                                                 ½ conv      2 × deconv
                                                      └ 5 blocks ─ across ─ 5 blocks

    tail    conv, pixel shuffle s, + bilinear image

    block   x + β · channels(norm(x)), then x + γ · gated(norm(x))
    pixel   also + β₂ · pixels(norm(x)), which look at each other over the whole window
    across  features of the three sizes look at those of all, nearest brought to the finest

channels: query, key, value from 1 × 1 and depthwise 3 × 3 convolutions; softmax(ReLU(t · q k)) v
over the features of a head, query and key of length 1 over the pixels. gated: 1 × 1, the product of
its halves, 1 × 1. β and γ are one number per feature, 0 at first. Heads: 1 at the finest, 2, 4, and
2 across. The reference uses the first size's projection for the second across; here each has its
own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.padding import whole
from geosr.models.nets.single.edsr import mean_of

_ACROSS = 2  # heads between the sizes
_PART = 1024  # pixels that look at the window at a time


class _Norm(nn.LayerNorm):
    """LayerNorm over the features of (batch, features, rows, cols)."""

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Part(nn.Module):
    """What `layers` make, times one number per feature that is 0 at first."""

    def __init__(self, features: int, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.share = nn.Parameter(torch.zeros(1, features, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.share * self.layers(x)


class _Halves(nn.Module):
    """The product of the features' halves."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first * second


def _gated(features: int) -> _Part:
    wide, back = nn.Conv2d(features, 2 * features, 1), nn.Conv2d(features, features, 1)
    return _Part(features, nn.Sequential(_Norm(features), wide, _Halves(), back))


def _projected(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, 1), nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
    )


def _looked(q: Tensor, k: Tensor, v: Tensor, heat: Tensor) -> Tensor:
    """softmax(ReLU(heat · q k)) v for (batch, heads, items, numbers), q and k of length 1."""
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    return F.relu(scores * heat).softmax(-1).to(v.dtype) @ v


def _of_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, heads, features / heads, pixels)."""
    return x.flatten(2).view(len(x), heads, -1, x.shape[-2] * x.shape[-1])


class _Block(nn.Module):
    """Features that look at each other, and pixels too where `pixels`; then a perceptron."""

    def __init__(self, features: int, heads: int, pixels: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _Norm(features)
        self.qkv = _projected(features, 3 * features)
        self.heat = nn.ParameterList(torch.ones(heads, 1, 1) for _ in range(1 + pixels))
        self.out = nn.ModuleList(
            _Part(features, nn.Conv2d(features, features, 1)) for _ in range(1 + pixels)
        )
        self.gated = _gated(features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_of_heads(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, 1))
        seen = [_looked(q, k, v, self.heat[0])]
        if len(self.heat) > 1:
            parts = torch.split(q.mT, _PART, 2)  # each (batch, heads, pixels, features / heads)
            seen += [torch.cat([_looked(p, k.mT, v.mT, self.heat[1]) for p in parts], 2).mT]
        for y, out in zip(seen, self.out, strict=True):
            x = x + out(y.reshape(x.shape))
        return x + self.gated(x)


class _Across(nn.Module):
    """Features of several sizes that look at those of all."""

    def __init__(self, features: int, sizes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_Norm(features) for _ in range(sizes))
        self.both = _projected(sizes * features, 2 * sizes * features)
        self.query = nn.ModuleList(_projected(features, features) for _ in range(sizes))
        self.heat = nn.ParameterList(torch.ones(_ACROSS, 1, 1) for _ in range(sizes))
        self.out = nn.ModuleList(
            _Part(features, nn.Conv2d(features, features, 1)) for _ in range(sizes)
        )
        self.gated = nn.ModuleList(_gated(features) for _ in range(sizes))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        raised = [F.interpolate(x, size=maps[0].shape[-2:], mode="nearest") for x in maps]
        normed = [norm(x) for norm, x in zip(self.norms, raised, strict=True)]
        k, v = (_of_heads(part, _ACROSS) for part in self.both(torch.cat(normed, 1)).chunk(2, 1))
        made = []
        for i, x in enumerate(raised):
            q = _of_heads(self.query[i](normed[i]), _ACROSS)
            x = x + self.out[i](_looked(q, k, v, self.heat[i]).reshape(x.shape))
            x = x + self.gated[i](x)
            made.append(F.interpolate(x, size=maps[i].shape[-2:], mode="nearest"))
        return made


def _chain(features: int, blocks: int, heads: int, pixels: bool = False) -> nn.Sequential:
    return nn.Sequential(*(_Block(features, heads, pixels) for _ in range(blocks)))


class HAUNet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: a multiple of four.
        blocks: at the finest size before the middle.
        half: at half of it.
        middle: at the coarsest size before the sizes look at each other, and after.
        back: at each of the two finer sizes on the way back.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 96, blocks: int = 5, half: int = 5,
        middle: int = 5, back: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        self.scale = scale
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.down = nn.ModuleList([
            _chain(features, blocks, 1, True), _chain(features, half, 2),
            _chain(features, middle, 4),
        ])  # fmt: skip
        self.shrink = nn.ModuleList(nn.Conv2d(features, features, 2, 2) for _ in range(2))
        self.across = _Across(features, 3)
        self.middle = _chain(features, middle, 4)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(features, features, 2, 2) for _ in range(2))
        self.up = nn.ModuleList([_chain(features, back, 1, True), _chain(features, back, 2)])
        self.tail = nn.Conv2d(features, bands * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        centred = whole(x - self.mean, 4)
        maps = [self.down[0](self.head(centred))]
        for shrink, chain in zip(self.shrink, self.down[1:], strict=True):
            maps.append(chain(shrink(maps[-1])))
        *skips, y = self.across(maps)
        y = self.middle(y)
        for i in (1, 0):
            y = self.up[i](self.enlarge[i](y) + skips[i])
        y = F.pixel_shuffle(self.tail(y), self.scale)  # (batch, bands, s · whole rows and cols)
        y = y + F.interpolate(centred, scale_factor=self.scale, mode="bilinear")
        return y[..., : self.scale * rows, : self.scale * cols] + self.mean


def build(card: ModelCard) -> HAUNet:
    """The untrained net of a card."""
    return HAUNet(len(card.bands), card.scale, **card.options)


# The finest pixels look at the whole window: tiles blend, and are small, as the work grows with
# the square of their pixels. Published: 2000 epochs of UCMerced or AID, the rate down to 1e-7.
_REACH, _SOURCE = {2: 16, 3: 16, 4: 16, 8: 16}, "Wang et al., IEEE TGRS 61 (2023)"
_RECIPE = Recipe(patch=24, batch_size=2)
_PAPER = Recipe("l1", 48, 4, 500_000, "adam", 8e-4, warmup=0, clip=0.0, ema=0.0)
DESIGNS = (
    Design("haunet", "sisr", "haunet", build, _REACH, 4, _SOURCE, blend=8, tile=64,
           options={"features": 96, "blocks": 5, "half": 5, "middle": 5, "back": 5},
           recipe=_RECIPE, paper=_PAPER),
    Design("haunet-s", "sisr", "haunet", build, _REACH, 4, _SOURCE, blend=8, tile=64,
           options={"features": 64, "blocks": 4, "half": 3, "middle": 1, "back": 1},
           recipe=_RECIPE, paper=_PAPER),
)  # fmt: skip
