"""MMSR: a band sharpened by a guide of another kind, learned from the one pair alone.

Dong, Zhang, Wang, "Learning mutual modulation for self-supervised cross-modal super-resolution",
ECCV 2022. Reference repository: palmdong/MMSR.

    guides ─ conv ReLU ─ conv ReLU ─ 2 × residual ───── conv ─ g ─┐
                                                                  ├ modulation ─ conv ─ 3 residual
    band ↑ ─ conv ReLU ─ conv ReLU ─ 2 × residual ───── conv ─ f ─┘                      └ conv ─

    modulation: f'(p) = Σ softmax_q(f(q) · g(p)) f(q), q in 11 × 11 around p, and
                g'(p) = Σ softmax_q(g(q) · f(p)) g(q), q in 5 × 5; both side by side

Convolutions of the guides are 3 × 3, all others 1 × 1, with 64 features; ↑ is bilinear. The one
thing it is taught is that its result, seen by the coarse sensor, is the band: the mean absolute
difference. There is no other term, no truth and no other scene. The sensor's point spread stands
where the publication has the block mean. Bands are made one by one by the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.guided.classical import Classical, Sample, column, repeated, template
from geosr.models.nets.single.edsr import Residual

_FEATURES = 64
_OF_SOURCE, _OF_GUIDE = 5, 2  # radii of the neighbourhoods
_BLOCK = 8  # pixels a side that are looked at together
_CONVOLUTIONS = 6  # one after the other, of the guides
_LINEAR = 1  # coarse pixels that bilinear interpolation looks at beyond its own


def _branch(channels: int, size: int) -> nn.Sequential:
    """Features of the guides or of the band, (batch, 64, rows, cols)."""
    return nn.Sequential(
        nn.Conv2d(channels, _FEATURES, size, padding=size // 2), nn.ReLU(),
        nn.Conv2d(_FEATURES, _FEATURES, size, padding=size // 2), nn.ReLU(),
        Residual(_FEATURES, side=size), Residual(_FEATURES, side=size),
    )  # fmt: skip


class MMSR(Classical):
    """The net, before or after it has learned.

    Attributes:
        levels, spreads: mean and deviation of the guides, then of the bands.
    """

    levels: Tensor
    spreads: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.guiding = _branch(self.guides, 3)
        self.source = _branch(1, 1)
        self.to_guide = nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.to_source = nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.joined = nn.Conv2d(2 * _FEATURES, _FEATURES, 1)
        self.body = nn.Sequential(*(Residual(_FEATURES, side=1) for _ in range(3)))
        self.tail = nn.Conv2d(_FEATURES, 1, 1)
        self.register_buffer("levels", torch.zeros(self.guides + self.bands))
        self.register_buffer("spreads", torch.ones(self.guides + self.bands))

    @property
    def reach(self) -> int:
        """A neighbourhood, and the guides' convolutions or the interpolation."""
        guides = math.ceil((_CONVOLUTIONS + _OF_GUIDE) / self.factor)
        return max(guides, math.ceil(_OF_SOURCE / self.factor) + _LINEAR)

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, k · rows, k · cols) in counts."""
        coarse = inputs[self.high]
        made = self.standard(inputs[self.low], coarse)
        bands = slice(self.guides, None)
        level, spread = (column(x[bands], made) for x in (self.levels, self.spreads))
        return made.float() * spread + level

    def standard(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The same of counts in units of the bands' deviations, without their means."""
        guides, bands = self.standardised(fine, coarse)
        raised = F.interpolate(bands, scale_factor=self.factor, mode="bilinear")
        g = self.to_guide(self.guiding(guides))
        found = [self._of_band(raised[:, i : i + 1], g) for i in range(self.bands)]
        return torch.cat(found, 1)

    def standardised(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Guides and bands with mean 0 and deviation 1 in the scene."""
        levels, spreads = (
            torch.split(x, [self.guides, self.bands]) for x in (self.levels, self.spreads)
        )
        return tuple(  # type: ignore[return-value]
            (x - column(level, x)) / column(spread, x)
            for x, level, spread in zip((fine, coarse), levels, spreads, strict=True)
        )

    def _of_band(self, raised: Tensor, g: Tensor) -> Tensor:
        """(batch, 1, rows, cols) of one band, interpolated, and of the guides' features."""
        f = self.to_source(self.source(raised))
        both = modulated(g, f, _OF_SOURCE), modulated(f, g, _OF_GUIDE)
        made: Tensor = self.tail(self.body(self.joined(torch.cat(both, 1))))
        return made

    def measure(self, samples: Sequence[Sample]) -> None:
        """Means and deviations; learning is `geosr.inference.learning`'s."""
        fine = [s.fine[0][:, repeated(s.clear, self.factor)] for s in samples]
        coarse = [s.coarse[0][:, s.clear] for s in samples]
        levels, spreads = [], []
        for values in (torch.cat(fine, 1), torch.cat(coarse, 1)):
            levels.append(values.double().mean(1) if values.numel() else torch.zeros(len(values)))
            deviation = values.double().std(1, correction=0) if values.numel() else levels[-1] + 1
            spreads.append(torch.where(deviation > 0, deviation, 1.0))
        self.levels.copy_(torch.cat(levels))
        self.spreads.copy_(torch.cat(spreads))

    def begin(self, rng: np.random.Generator) -> None:
        """Draw the weights, as PyTorch does."""
        with torch.no_grad():
            for conv in (each for each in self.modules() if isinstance(each, nn.Conv2d)):
                bound = conv.weight[0].numel() ** -0.5
                for values in conv.parameters():
                    drawn = rng.uniform(-bound, bound, tuple(values.shape)).astype(np.float32)
                    values.copy_(torch.from_numpy(drawn))

    def missed(self, sample: Sample, border: int) -> Tensor:
        """Mean absolute difference of the result, seen by the sensor, and the bands, standardised.

        Args:
            border: coarse pixels at the edges of the window that do not count.
        """
        made = self.seen(self.standard(sample.fine, sample.coarse))
        _, bands = self.standardised(sample.fine, sample.coarse)
        inner = (slice(border, -border or None),) * 2
        clear = sample.clear[inner].to(made)
        error = (made - bands)[(..., *inner)].abs() * clear
        return error.sum() / (clear.sum() * self.bands).clamp(min=1)


def modulated(query: Tensor, values: Tensor, radius: int) -> Tensor:
    """Around every pixel the mean of `values` by their likeness to the query there.

    Both are (batch, features, rows, cols); what lies outside counts as zero. Squares of 8 pixels a
    side are looked at together, against all that any of them sees.
    """
    features, rows, cols = query.shape[1:]
    room = (0, -cols % _BLOCK, 0, -rows % _BLOCK)
    high, wide = rows + room[3], cols + room[1]
    side = _BLOCK + 2 * radius
    asked = F.unfold(F.pad(query, room), _BLOCK, stride=_BLOCK)
    asked = torch.unflatten(asked, 1, (features, -1)).permute(
        0, 3, 2, 1
    )  # (batch, squares, 64, features)
    around = F.pad(values, (radius, radius + room[1], radius, radius + room[3]))
    known = F.unfold(around, side, stride=_BLOCK)
    known = torch.unflatten(known, 1, (features, -1)).permute(
        0, 3, 2, 1
    )  # (batch, squares, side², features)
    alike = asked @ known.mT + _far(radius).to(asked)  # (batch, squares, 64, side²)
    found = alike.softmax(-1) @ known
    found = found.permute(0, 3, 2, 1).flatten(1, 2)
    return F.fold(found, (high, wide), _BLOCK, stride=_BLOCK)[..., :rows, :cols]


def _far(radius: int) -> Tensor:
    """(64, side²): 0 where a pixel of a square sees one of those around it, else −∞."""
    side = _BLOCK + 2 * radius
    own, there = torch.arange(_BLOCK) + radius, torch.arange(side)
    near = (own[:, None] - there[None]).abs() <= radius  # (8, side), rows or columns
    both = near[:, None, :, None] & near[None, :, None, :]
    return torch.where(both.reshape(_BLOCK**2, side**2), 0.0, -math.inf)


def build(card: ModelCard) -> MMSR:
    """The net of a card."""
    return MMSR(card)


def _design() -> Design:
    made = template("mmsr", build, source="Dong, Zhang, Wang, ECCV 2022")
    assert made.card_ is not None
    recipe = Recipe(patch=96, batch_size=1, steps=400, optimizer="adam", lr=2e-3,
                    weight_decay=5e-4, warmup=0, clip=0.0, ema=0.0)  # fmt: skip
    return replace(made, card_=replace(made.card_, fitted=True), recipe=recipe)


DESIGNS = (_design(),)
