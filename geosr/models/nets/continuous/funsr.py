"""FunSR: every place has a function of its own, made of local and global context.

Chen, Li, Lei, Chen, Jiang, Zou, Shi, "Continuous remote sensing image super-resolution based on
context interaction in implicit function space", IEEE TGRS 2023, arXiv 2302.08046. Reference
repositories: KyanChen/FunSR, KyanChen/RSPrompter.

    features ─ conv s2 CSP ─ conv s2 CSP ─ conv s2 CSP ─
        │           │             │            │
       s2 ──────── all as tokens, one more for the whole, places added ──── transformer
        ├─ tokens of the features ─ up ─ local functions, one a cell ─ sine layers of offsets ┐
        └─ the one token ─ global function ───────────── sine layers of coordinates ── 1×1 ─ pixel

CSP is a cross-stage block: half of the channels pass 2, 4, 6 residual blocks. Both sine nets also
get the pixel's size and the bicubic value at the place. Coordinates of the whole are those of the
tile, so tiles are of the published 48 input pixels, blended; the table of places, 24 × 24, is
interpolated to other sizes. 8,670,555 parameters for three bands, as of the repository.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ANY_SCALE, ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.continuous.encoder import Continuous
from geosr.models.nets.continuous.places import Axis, Places, bicubic, gather

_SMALL = 0.05  # deviation of the last layer's first weights
_TABLE = 24  # places along the table, half of the published input


class _Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, wide: int, narrow: int, side: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(wide, narrow, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(narrow, eps=1e-3, momentum=0.03),
            nn.ReLU(),
        )


class _CrossStage(nn.Module):
    """One half of the channels through residual blocks, the other past them."""

    def __init__(self, wide: int, narrow: int, blocks: int) -> None:
        super().__init__()
        half = narrow // 2
        self.main, self.past = _Conv(wide, half, 1), _Conv(wide, half, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(_Conv(half, half, 1), _Conv(half, half, 3)) for _ in range(blocks)
        )
        self.last = _Conv(2 * half, narrow, 1)

    def forward(self, x: Tensor) -> Tensor:
        past, x = self.past(x), self.main(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(torch.cat([x, past], 1))


class _Context(nn.Module):
    """Transformer over the cells of four sizes and a token for the whole."""

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features, width, 1)
        self.sampler = nn.Conv2d(width, width, 3, 2, 1)
        layer = nn.TransformerEncoderLayer(
            width, 8, 2 * width, dropout=0.1, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.up = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.whole = nn.Parameter(torch.zeros(1, 1, width))
        self.table = nn.Parameter(torch.randn(1, width, _TABLE, _TABLE) * 0.02)
        self.drop = nn.Dropout(0.1)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Functions of all cells (batch, width, rows, cols), and of the whole (batch, width)."""
        first, *others = (self.enter(x) for x in levels)
        first = self.sampler(first)
        tokens = [self._placed(x) for x in (first, *others)]
        x = self.drop(torch.cat(tokens, 1))
        x = self.encoder(torch.cat([self.whole.expand(len(x), -1, -1), x], 1))
        cells = x[:, 1 : 1 + first[0, 0].numel()].transpose(1, 2)
        return self.up(cells.reshape(first.shape)), x[:, 0]

    def _placed(self, x: Tensor) -> Tensor:
        """(batch, cells, width) with the places of the cells added."""
        where = F.interpolate(self.table, x.shape[-2:], mode="bicubic", align_corners=True)
        return (x + where).flatten(2).transpose(1, 2)


class _Sines(nn.Module):
    """A perceptron of sines, its layers moved by a function: (…, width) and (…, given)."""

    def __init__(self, given: int, values: int, width: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(given, width)
        self.first_move = nn.Linear(width, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.moves = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(layers))
        self.last = nn.Linear(width, values)

    def forward(self, given: Tensor, function: Tensor) -> Tensor:
        move = F.relu(self.first_move(function))
        x = (self.first(given) + move).sin()
        function = function.expand(x.shape)
        for layer, mover in zip(self.layers, self.moves, strict=True):
            move = F.relu(mover(torch.cat([function, move.expand(x.shape), x], -1)))
            x = x + (layer(x) + move).sin()
        return self.last(x)


class FunSR(Continuous):
    """The net.

    Args:
        width: of the functions.
        layers: of the transformer.
        inner: layers of each perceptron of sines.
    """

    def __init__(
        self, bands: int, *, features: int = 64, blocks: int = 16, width: int = 256,
        layers: int = 3, inner: int = 3, skip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(bands, features=features, blocks=blocks, skip=skip)
        self.levels = nn.ModuleList(
            nn.Sequential(
                _Conv(features, 2 * features, 3, 2), _CrossStage(2 * features, features, n)
            )
            for n in (2, 4, 6)
        )
        self.context = _Context(features, width, layers)
        self.local = _Sines(6 + bands, bands, width, inner)
        self.enter = nn.Linear(width, width)
        self.everywhere = _Sines(4 + bands, bands, width, inner)
        self.fuse = nn.Linear(2 * bands, bands)
        if skip:  # it begins near the interpolation that it is added to
            nn.init.normal_(self.fuse.weight, std=_SMALL)
            nn.init.zeros_(self.fuse.bias)

    def prepare(self, features: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        levels = [features]
        for level in self.levels:
            levels.append(level(levels[-1]))
        cells, whole = self.context(levels)
        return cells, self.enter(whole), 2 * x - 1

    def decode(self, prepared: tuple[Tensor, ...], places: Places) -> Tensor:
        cells, whole, x = prepared
        (row, down), (col, across) = places.rows.nearest(), places.cols.nearest()
        value = bicubic(x, places).permute(0, 2, 3, 1)  # (batch, n, m, bands)
        size = (places.cells() / 2).to(x.dtype)[:, None, None].expand(*value.shape[:3], 2)
        beside = _grid(2 * down, 2 * across).to(x.dtype)
        where = _grid(_whole(places.rows), _whole(places.cols)).to(x.dtype)
        local = self.local(torch.cat([beside, size, where, value], -1), gather(cells, row, col))
        everywhere = self.everywhere(torch.cat([where, size, value], -1), whole[:, None, None])
        return self.fuse(torch.cat([everywhere, local], -1))


def _grid(down: Tensor, across: Tensor) -> Tensor:
    """(batch, n, m, 2) of what rows and columns have."""
    shape = (*down.shape, across.shape[1])
    return torch.stack([down[:, :, None].expand(shape), across[:, None].expand(shape)], -1)


def _whole(axis: Axis) -> Tensor:
    """Centres as coordinates of the whole input, -1 … 1."""
    return (2 * axis.at + 1) / axis.extent - 1


def build(card: ModelCard) -> FunSR:
    """The untrained net of a card."""
    return FunSR(len(card.bands), **card.options)


# Tiles of 32 input pixels with 8 around them are the published 48.
DESIGNS = (
    Design("funsr", "sisr", "funsr", build, {ANY_SCALE: 8}, 4, "Chen et al., IEEE TGRS 2023",
           blend=4, tile=32,
           options={"features": 64, "blocks": 16, "width": 256, "layers": 3, "inner": 3,
                    "skip": True},
           recipe=Recipe(patch=48, batch_size=4, lr=1e-4),
           paper=Recipe("l1", 48, 8, 500_000, "adamw", 1e-4, warmup=12_500, clip=0.0, ema=0.0)),
)  # fmt: skip
