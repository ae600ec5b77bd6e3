"""MSDTGP: frames aligned by deformable convolution, grouped by distance in time, projected.

Xiao, Su, Yuan, Liu, Shen, Zhang, "Satellite video super-resolution via multiscale deformable
convolution alignment and temporal grouping projection", IEEE TGRS 60 (2022). Reference repository:
XY-boy/MSDTGP, without a licence: facts alone are taken from there.

    frame t ─────── conv ─ f                   h⁰ = DBPN(f),  h¹ = up(group j)
    t−2, t, t+2 ─ features ─ align to t ─┬─ group 1    h_j = h⁰ + refine(h⁰ − h¹),  f ← down(h_j)
    t−1, t, t+1 ─ features ─ align to t ─┴─ group 2    j = 1, 2
    [DBPN(f), h_1, h_2] · attention in time ─ conv ─ image

    align   guide of both: convolutions 3 × 3, then 3, 5 and 7 wide side by side; deformable conv
    DBPN    up, down, up, down, up, each with a correction of what it lost (Haris et al. 2018)

Every convolution is followed by a PReLU of one slope, those of the alignment by a leaky ReLU. There
is no skip past the net, which makes the image itself; `msdtgp-s` has one, and is narrower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.multi.video import Alignment

_FRAMES = 5
_ORDER = (3, 1, 0, 2, 4)  # t−2 … t+2, of frames that come nearest first
_GROUPS = ((0, 2, 4), (1, 2, 3))  # of those in their order
_SIDES = {2: 6, 4: 8, 8: 12}  # of a kernel between the grids


class _Residual(nn.Module):
    """PReLU(x + conv(PReLU(conv(x)))), one slope for both."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.second(self.act(self.first(x))))
        return y


def _layer(narrow: int, wide: int, side: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, side, padding=side // 2), nn.PReLU())


def _up(narrow: int, wide: int, scale: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(narrow, wide, _SIDES[scale], stride=scale, padding=2)
    return nn.Sequential(conv, nn.PReLU())


def _down(narrow: int, wide: int, scale: int) -> nn.Sequential:
    conv = nn.Conv2d(narrow, wide, _SIDES[scale], stride=scale, padding=2)
    return nn.Sequential(conv, nn.PReLU())


class _Step(nn.Module):
    """To the other grid, with what is lost on the way there and back brought over as well."""

    def __init__(self, features: int, scale: int, *, up: bool) -> None:
        super().__init__()
        there, back = (_up, _down) if up else (_down, _up)
        self.there = there(features, features, scale)
        self.back = back(features, features, scale)
        self.again = there(features, features, scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.there(x)
        return y + self.again(self.back(y) - x)


class _BackProjection(nn.Module):
    """DBPN: (batch, wide, rows, cols) to (batch, features, scale · rows, scale · cols)."""

    def __init__(self, wide: int, features: int, scale: int) -> None:
        super().__init__()
        self.head = _layer(wide, features, 1)
        self.ups = nn.ModuleList(_Step(features, scale, up=True) for _ in range(3))
        self.downs = nn.ModuleList(_Step(features, scale, up=False) for _ in range(2))
        self.tail = nn.Conv2d(3 * features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = [self.ups[0](self.head(x))]
        for down, up in zip(self.downs, self.ups[1:], strict=True):
            fine.append(up(down(fine[-1])))
        y: Tensor = self.tail(torch.cat(fine[::-1], 1))  # (batch, 3 · features, …)
        return y


class MSDTGP(nn.Module):
    """The net; unit values in and out, five frames, the nearest in time to the first one first.

    Maps frames (batch, 5, bands, rows, cols) and where they are clear (batch, 5, 1, rows, cols) to
    the first frame, (batch, bands, scale · rows, scale · cols). Unclear pixels are taken from the
    nearest frame in time before the net sees them.

    Args:
        features: of the frame itself on the coarse grid.
        narrow: of everything else; a multiple of 8.
        blocks: residual blocks of each of the three stages of a projection.
        skip: add the bicubic frame, which the net begins as: it learns sooner.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 256, narrow: int = 64, blocks: int = 5,
        skip: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale, self.skip = scale, skip
        self.head = _layer(bands, features)
        self.each = nn.Sequential(_layer(bands, narrow), *(_Residual(narrow) for _ in range(3)))
        self.project = _BackProjection(features, narrow, scale)
        self.align = Alignment(narrow)
        self.fuse = _layer(3 * narrow, features)
        self.up = nn.Sequential(
            *(_Residual(features) for _ in range(blocks)), _up(features, narrow, scale)
        )
        self.refine = nn.Sequential(
            *(_Residual(narrow) for _ in range(blocks)), _layer(narrow, narrow)
        )
        self.down = nn.Sequential(
            *(_Residual(narrow) for _ in range(blocks)), _down(narrow, features, scale)
        )
        self.of_each = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.of_first = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.tail = nn.Conv2d(3 * narrow, bands, 3, padding=1)
        self._begin()
        if skip:
            nn.init.zeros_(self.tail.weight)

    def _begin(self) -> None:
        """Features as large behind a layer as before it; corrections a tenth of what they correct.

        He's deviation everywhere, as published, makes the image thousands of times too bright. The
        attention begins near a half: where it begins near nothing it stays there.
        """
        for name, module in self.named_modules():
            if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or name.endswith("aside"):
                continue
            step = module.stride[0] if isinstance(module, nn.ConvTranspose2d) else 1
            seen = module.in_channels * (module.kernel_size[0] / step) ** 2
            small = ".again." in name or name.endswith(".second") or name.startswith("of_")
            weight = 0.1 if small else 1.0
            nn.init.normal_(module.weight, std=weight * (2 / seen) ** 0.5)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        frames = mended(frames, clear)[:, _ORDER]
        batch, count = frames.shape[:2]
        each = self.each(frames.flatten(0, 1)).unflatten(0, (batch, count))
        onto = each[:, count // 2 : count // 2 + 1].expand_as(each).flatten(0, 1)
        each = self.align(each.flatten(0, 1), onto).unflatten(0, (batch, count))
        middle = frames[:, count // 2]
        x = self.head(middle)  # (batch, features, rows, cols)
        fine = []
        for group in _GROUPS:
            first = self.project(x)  # (batch, narrow, s · rows, s · cols)
            other = self.up(self.fuse(each[:, group].flatten(1, 2)))
            fine.append(first + self.refine(first - other))
            x = self.down(fine[-1])
        image: Tensor = self.tail(self._attended([self.project(x), *fine]))
        if not self.skip:
            return image
        up = F.interpolate(middle.float(), scale_factor=self.scale, mode="bicubic")
        return image.float() + up

    def _attended(self, fine: list[Tensor]) -> Tensor:
        """Features weighted, pixel by pixel, by how far they go with the first; concatenated."""
        first = self.of_first(fine[0])
        return torch.cat(
            [torch.sigmoid((self.of_each(x) * first).sum(1, keepdim=True)) * x for x in fine], 1
        )


def build(card: ModelCard) -> MSDTGP:
    """The untrained net of a card."""
    return MSDTGP(len(card.bands), card.scale, **card.options)


# Offsets have no bound, so tiles agree by blending. Published: 50 epochs of 189 videos of 100
# frames, one sample a step.
_SIZES: dict[str, dict[str, Any]] = {
    "msdtgp": {"features": 256, "narrow": 64, "blocks": 5, "skip": False},
    "msdtgp-s": {"features": 64, "narrow": 32, "blocks": 2, "skip": True},
}
DESIGNS = tuple(
    Design(name, "misr", "msdtgp", build, dict.fromkeys(_SIDES, 24), 4,
           "Xiao et al., IEEE TGRS 60 (2022)", frames=_FRAMES, blend=8, video=True,
           options=options, recipe=Recipe(patch=24, batch_size=4, lr=2e-4),
           paper=Recipe("l1", 32, 1, 945_000, "adam", 8e-5, schedule="step", period=472_500,
                        gamma=0.1, warmup=0, clip=0.0, ema=0.0))
    for name, options in _SIZES.items()
)  # fmt: skip
