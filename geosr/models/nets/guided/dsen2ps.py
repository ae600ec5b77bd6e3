"""dsen2-ps: DSen2's task on the 20 m grid, a quarter of the pixels; landsat-ps: on the 30 m grid.

geosr's own. The 10 m bands enter by pixel unshuffle (Shi et al. 2016, backwards) beside the native
20 m bands, so nothing is upsampled before the net; its residual returns by sub-pixel convolution.
What a local regression of the coarse bands on the finer ones says (`regress`, beside this module)
is its starting point: the net refines it.

    d10 (4) ──── unshuffle 2 ──┐
    d20 (6) ───────────────────┼─ concat ─ conv ReLU ─ d × [conv ReLU conv +] ─ conv ─ shuffle 2 ─ +
    d60 (2) ────── ↑3 ─────────┤                                                                   │
    regressions ─ unshuffle 2 ─┘                                                                   │
    the bands to sharpen, ↑2 or ↑6, bicubic, and a share of every regression ──────────────────────┘

For Landsat the one finer band is the panchromatic one at 15 m, and the trunk runs at 30 m.

Every convolution is 3 × 3 with zero padding; ↑ is bicubic, a = −0.75, with half-pixel centres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import FIXED, Input, ModelCard
from geosr.models.design import Recipe, guided
from geosr.models.nets.guided.dsen2 import DN, TO_20, TO_60, added, entered, sharpener
from geosr.models.nets.guided.regress import detail
from geosr.scene import pointspread

_GRID = 20  # metres; the trunk's for Sentinel-2
_PAN = (Input(15, ("pan",)), Input(30, pointspread.LANDSAT))
_RIDGES = (1000, 300)  # of regressions of bands, and of fine structure, in counts²


class Residual(nn.Module):
    """x + convolution, ReLU, convolution; begins as x."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return added(x, self.second(F.relu(self.first(x), inplace=True)))


class DSen2PS(nn.Module):
    """The net: counts by GSD to counts of the last bands on the grid of the first.

    Args:
        bands: number of input bands by GSD, finest first; the last are the ones to sharpen.
        radii: of the regressions, in pixels of the last bands: one of the bands and one of their
            fine structure each.
        spreads: by band to sharpen and finer band, σ in pixels of the first of the Gaussian
            through which the one sees the other.
        grid: GSD of the trunk.
        ridges: of the regressions of bands, and of those of fine structure, in counts².
    """

    def __init__(
        self, bands: Mapping[int, int], features: int, blocks: int, radii: Sequence[int] = (),
        spreads: Sequence[Sequence[float]] = (), grid: int = _GRID,
        ridges: Sequence[float] = _RIDGES,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gsds, self.radii, self.spreads = tuple(bands), tuple(radii), spreads
        self.grid = grid
        self.ridges = {above: ridge / DN**2 for above, ridge in enumerate(ridges)}
        entering = sum(count * max(grid // gsd, 1) ** 2 for gsd, count in bands.items())
        leaving = bands[self.gsds[-1]] * (grid // self.gsds[0]) ** 2
        regressions = 2 * len(self.radii)
        entering += leaving * regressions
        if self.radii:
            self.share = nn.Parameter(torch.full((regressions,), 1 / regressions))
        self.head = nn.Conv2d(entering, features, 3, padding=1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, leaving, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """Counts on the finest grid; the residual may run in low precision, the skip not."""
        fine, target = self.gsds[0], self.gsds[-1]
        brought = [_on_grid(inputs[gsd] / DN, gsd, self.grid) for gsd in self.gsds]
        skip = torch.zeros((), device=inputs[target].device)
        if self.radii:
            brought.append(known := self._known(inputs))
            for share, part in zip(self.share, known.chunk(len(self.share), 1), strict=True):
                skip = torch.addcmul(skip, part, share)
            del known, part
        x = torch.cat(brought, 1)  # (batch, 118, 56 or 106, rows, cols) on the trunk's grid
        del brought  # as large as all the rest, and of no more use
        x = entered(self.head, x)
        residual = self.tail(self.body(x)).to(skip.dtype) + skip
        made = F.pixel_shuffle(residual, self.grid // fine)
        return torch.add(raised(inputs[target], target // fine), made, alpha=DN)

    def fixed(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """What no weight has a part in: the detail by every regression, in counts and fp32.

        (batch, regressions · bands, rows, cols) on the finest grid. `forward` takes it from
        inputs[FIXED] where it is there: a training need not find it again and again.
        """
        return DN * F.pixel_shuffle(self._detail(inputs), self.gsds[-1] // self.gsds[0])

    def _known(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """The same on the trunk's grid, in the unit of the net."""
        step = self.grid // self.gsds[0]
        if FIXED in inputs:
            return F.pixel_unshuffle(inputs[FIXED] / DN, step)
        return _regrouped(self._detail(inputs), self.gsds[-1] // self.gsds[0], step)

    def _detail(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """The detail by every regression on the grid of the bands to sharpen, as pixels of it."""
        fine, target = self.gsds[0], self.gsds[-1]
        with torch.autocast(inputs[target].device.type, enabled=False):
            guides = [raised(inputs[gsd] / DN, gsd // fine) for gsd in self.gsds[:-1]]
            return detail(
                torch.cat(guides, 1), inputs[target] / DN, self.radii, factor=target // fine,
                ridges=self.ridges, spreads=self.spreads,
            )  # fmt: skip


def _regrouped(x: Tensor, factor: int, step: int) -> Tensor:
    """`pixel_unshuffle` by `step` of `pixel_shuffle` by `factor`, a multiple of it."""
    if factor == step:
        return x
    batch, channels, rows, cols = x.shape
    kept, k = channels // factor**2, factor // step
    split = x.view(batch, kept, k, step, k, step, rows, cols).permute(0, 1, 3, 5, 6, 2, 7, 4)
    return split.reshape(batch, kept * step**2, rows * k, cols * k)


def _on_grid(x: Tensor, gsd: int, grid: int) -> Tensor:
    """Bands of a GSD on the trunk's grid."""
    return F.pixel_unshuffle(x, grid // gsd) if gsd < grid else raised(x, gsd // grid)


def raised(x: Tensor, factor: int) -> Tensor:
    """Bicubic, a = −0.75, with half-pixel centres."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)


def build(card: ModelCard) -> DSen2PS:
    """The untrained net of a card."""
    bands = {item.gsd: len(item.bands) for item in card.inputs}
    return DSen2PS(bands, **card.options)


def _spreads(inputs: Sequence[Input]) -> list[list[float]]:
    """By band of the last input and band of the others, in pixels of the first."""
    *guides, target = inputs
    finer = [pointspread.relative(name) for item in guides for name in item.bands]
    return [
        [round(math.sqrt(pointspread.relative(name) ** 2 - other**2) / inputs[0].gsd, 4)
         for other in finer]
        for name in target.bands
    ]  # fmt: skip


def _card(
    name: str, inputs: Sequence[Input], margin: int, *, sensor: str = "sentinel2", **options: Any
) -> ModelCard:
    options = {"features": 64, "blocks": 6, **options, "spreads": _spreads(inputs)}
    return sharpener(
        name, "dsen2-ps", inputs, margin, options, sensor=sensor,
        source=f"geosr; the task of Lanaras et al. 2018 on the {options.get('grid', _GRID)} m grid",
    )  # fmt: skip


def _recipe(card: ModelCard) -> Recipe:
    """64 pixels of truth along a window at 20 m, where regressions look far; 48 at 60 m.

    Landsat's sensors differ in gain and type: brightness is drawn from further away.
    """
    patch, batch = (32, 8) if card.scale == 2 else (8, 16)
    jitter = 0.1 if card.sensor == "sentinel2" else 0.4
    return Recipe(
        patch=patch, batch_size=batch, lr=6e-4, weight_decay=1e-4, warmup=300, jitter=jitter
    )


_CARDS = (
    _card("dsen2-ps-20", TO_20, 46, radii=[2, 6]),
    _card("dsen2-ps-60", TO_60, 58, blocks=2, radii=[2, 4]),
    # one guide is not mistaken for another: smaller ridges, which find it again whole
    _card("landsat-ps", _PAN, 46, sensor="landsat", radii=[2, 6], grid=30, ridges=[100, 30]),
)
DESIGNS = tuple(guided(card, build, recipe=_recipe(card)) for card in _CARDS)
