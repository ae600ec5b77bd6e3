"""LIIF: local implicit image function.

Chen, Liu, Wang, "Learning continuous image representation with local implicit image function",
CVPR 2021. Reference repository: yinboc/liif (BSD-3).

    features 3 × 3 around a cell, offset from its centre, size of the output pixel
      ─ linear ReLU ─ linear ReLU ─ linear ReLU ─ linear ReLU ─ linear ─ value seen from that cell

A pixel is asked of the four cells around its centre; each answer weighs as much as the rectangle
between the pixel and the cell opposite. The first linear layer over the 3 × 3 features is a
convolution, so it is computed once a cell and not once a pixel: the same numbers, and the
published 1,567,299 parameters for three bands.
"""

from __future__ import annotations

from itertools import product

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ANY_SCALE, ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.continuous.encoder import Continuous
from geosr.models.nets.continuous.places import Axis, Places, gather


class Answers(nn.Module):
    """The perceptron: (batch, n, m, values) at places, of the four cells around each, blended.

    Args:
        values: numbers at a place.
        hidden: width of the four hidden layers.
    """

    def __init__(self, features: int, values: int, *, hidden: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(features, hidden, 3, padding=1)
        self.where = nn.Linear(4, hidden, bias=False)
        self.rest = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))
        self.last = nn.Linear(hidden, values)

    def forward(self, local: Tensor, places: Places) -> Tensor:
        """Of what `local` made of the features."""
        rows, cols = places.rows, places.cols
        total: Tensor | float = 0.0
        for down, across in product((0, 1), (0, 1)):
            seen = gather(local, rows.near(down)[0], cols.near(across)[0])
            x = F.relu(seen + self._position(places, down, across).to(seen.dtype))
            for layer in self.rest:
                x = F.relu(layer(x))
            share = rows.share(down)[:, :, None] * cols.share(across)[:, None]
            total = total + self.last(x) * share[..., None].float()  # never in low precision
        assert isinstance(total, Tensor)
        return total

    def _position(self, places: Places, down: int, across: int) -> Tensor:
        """The first layer's part of offsets and size, (batch, n, m, hidden)."""
        weight = self.where.weight
        row = offset(places.rows, down).to(weight.dtype)[..., None] * weight[:, 0]
        col = offset(places.cols, across).to(weight.dtype)[..., None] * weight[:, 1]
        size = places.cells().to(weight.dtype) @ weight[:, 2:].T
        return row[:, :, None] + col[:, None] + size[:, None, None]


def offset(axis: Axis, side: int) -> Tensor:
    """From a neighbour's centre, in half input pixels, (batch, n)."""
    return 2 * axis.near(side)[1]


class LIIF(Continuous):
    """The net."""

    def __init__(
        self, bands: int, *, features: int = 64, blocks: int = 16, hidden: int = 256,
        skip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(bands, features=features, blocks=blocks, skip=skip)
        self.answers = Answers(features, bands, hidden=hidden)

    def prepare(self, features: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return (self.answers.local(features),)

    def decode(self, prepared: tuple[Tensor, ...], places: Places) -> Tensor:
        return self.answers(prepared[0], places)


def build(card: ModelCard) -> LIIF:
    """The untrained net of a card."""
    return LIIF(len(card.bands), **card.options)


# Published: 1000 epochs of 800 images, the rate halved every 200; pairs of one scale each.
REACH = {ANY_SCALE: 36}  # 16 blocks, three layers beside them, the 3 × 3 features and the next cell
RECIPE = Recipe(patch=32, batch_size=8, lr=5e-4)
PAPER = Recipe("l1", 48, 16, 50_000, "adam", 1e-4, schedule="step", period=10_000, warmup=0,
               clip=0.0, ema=0.0)  # fmt: skip
DESIGNS = (
    Design("liif", "sisr", "liif", build, REACH, 4, "Chen et al., CVPR 2021",
           options={"features": 64, "blocks": 16, "hidden": 256, "skip": True},
           recipe=RECIPE, paper=PAPER),
)  # fmt: skip
