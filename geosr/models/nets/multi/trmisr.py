"""TR-MISR: at every pixel a transformer fuses the frames into a token that is learned.

An, Zhang, Gao, Xu, Zhao, Huang, "TR-MISR: Multiimage super-resolution based on feature fusion
with transformers", IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. 15 (2022). Reference
repository: Suanmd/TR-MISR.

    frame 1 ─┐                                       token ─┐
       ⋮     ├─ each beside the median ─ encoder ─ T features ├─ 6 × transformer ─ token
    frame T ─┘                                     per pixel ─┘                      │
                                   output ─ pixel shuffle s ─ PReLU ─ conv 1 × 1 ────┘

The encoder is HighRes-net's. A layer is x + attention(norm(x)), then x + MLP(norm(x)); the
frames have no order, so neither do their features. Scores of the attention are scaled by the
root of all features, not of a head's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import anchor, beside_anchor, encoder, present
from geosr.models.nets.transformer import Layer, in_parts


class _Fusion(nn.Module):
    """The transformer, (pixels, frames, features) to (pixels, features)."""

    def __init__(self, features: int, layers: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(features))
        self.layers = nn.ModuleList(Layer(features, heads, hidden, dropout) for _ in range(layers))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = torch.cat([self.token.expand_as(x[:, :1]), x], 1)  # (pixels, 1 + frames, features)
        seen = F.pad(there, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, seen)
        return x[:, 0]


class TRMISR(nn.Module):
    """The net; unit values in and out, any number of frames in any order.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). Pixels that are not clear are set
    to zero; a frame with no clear pixel in the whole window is absent: the result is that of the
    other frames. The order only matters to the median, which takes the first nine clear frames.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 2, layers: int = 6,
        heads: int = 8, hidden: int = 128, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder(2 * bands, features, blocks)
        self.fusion = _Fusion(features, layers, heads, hidden, dropout)
        self.decoder = nn.Sequential(
            nn.Conv2d(features, bands * scale**2, 1), nn.PReLU(), nn.PixelShuffle(scale)
        )

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        batch, _, _, rows, cols = frames.shape
        middle = anchor(frames, clear)
        x = self.encoder(beside_anchor(torch.where(clear > 0, frames, 0), middle))
        x = x.unflatten(0, frames.shape[:2]).permute(0, 3, 4, 1, 2).flatten(0, 2)
        there = present(clear).repeat_interleave(rows * cols, 0)
        x = in_parts(self.fusion, x, there)  # (batch · rows · cols, features)
        return self.decoder(x.view(batch, rows, cols, -1).permute(0, 3, 1, 2))


def build(card: ModelCard) -> TRMISR:
    """The untrained net of a card."""
    return TRMISR(len(card.bands), card.scale, **card.options)


# Published: 400 epochs of about 520 scenes of a band, the encoder at twice the transformer's
# rate, the loss a registered squared error in decibels.
DESIGNS = (
    Design("tr-misr", "misr", "tr-misr", build, {2: 6, 3: 6, 4: 6}, 3,
           "An et al., IEEE JSTARS 15 (2022)", frames=24, fewer=True,
           options={"features": 64, "blocks": 2, "layers": 6, "heads": 8, "hidden": 128,
                    "dropout": 0.1},
           recipe=Recipe(patch=12, batch_size=2),
           paper=Recipe("registered", 64, 4, 52_000, "adam", 5e-4, schedule="plateau", period=3,
                        gamma=0.95, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
