"""MISR-GRU: frames read one after the other by a recurrent net that remembers in maps.

Rifat Arefin, Michalski, St-Charles, Kalaitzis, Kim, Kahou, Bengio, "Multi-image super-resolution
for remote sensing using deep recurrent networks", CVPR workshops 2020. Reference repository:
rarefin/MISR-GRU, whose licence forbids some uses: facts alone are taken from there.

    frame 1 ─┐                                                     ┌─ state 1 ─┐
       ⋮     ├─ encoder ─ concat ─ encoder ─ 2 layers of ConvGRU ─ ┤     ⋮     ├─ mean ─ decoder
    frame T ─┘               │                                     └─ state T ─┘
    median ──── encoder ─────┘

    ConvGRU  z, r = sigmoid(conv [x, h]);  h ← (1 − z) · h + z · tanh(conv [x, r · h]);  0 at first

Encoder and decoder are HighRes-net's; the first encoder is one for frames and their median.
Convolutions are 3 × 3 with zero padding. Frames that are absent are read last and not counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import anchor, decoder, encoder, present, present_first


class _Cell(nn.Module):
    """One layer's step, (batch, features, rows, cols)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.update, self.reset, self.new = (
            nn.Conv2d(2 * features, features, 3, padding=1) for _ in range(3)
        )

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        both = torch.cat([x, state], 1)  # (batch, 2 · features, rows, cols)
        update, reset = torch.sigmoid(self.update(both)), torch.sigmoid(self.reset(both))
        new = torch.tanh(self.new(torch.cat([x, reset * state], 1)))
        return (1 - update) * state + update * new


class MISRGRU(nn.Module):
    """The net; unit values in and out, any number of frames, clearest first.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). A frame with no clear pixel in the
    whole window is absent: the result is that of the other frames.

    Args:
        blocks: residual blocks in each encoder.
        layers: of the recurrent net.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 2, layers: int = 2
    ) -> None:
        super().__init__()
        self.encoder = encoder(bands, features, blocks)
        self.join = encoder(2 * features, features, blocks)
        self.cells = nn.ModuleList(_Cell(features) for _ in range(layers))
        self.decoder = decoder(features, bands, scale)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        seen = torch.cat([frames, anchor(frames, clear)], 1)  # (batch, frames + 1, bands, …)
        seen = self.encoder(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        seen, middle = seen[:, :-1], seen[:, -1:]
        x = self.join(torch.cat([seen, middle.expand_as(seen)], 2).flatten(0, 1))
        x, there = present_first(x.unflatten(0, seen.shape[:2]), present(clear))
        return self.decoder(self._mean_state(x, there.to(x.dtype)[:, :, None, None, None]))

    def _mean_state(self, x: Tensor, there: Tensor) -> Tensor:
        states = [torch.zeros_like(x[:, 0]) for _ in self.cells]
        total = torch.zeros_like(states[0])
        for t in range(x.shape[1]):
            y = x[:, t]
            for i, cell in enumerate(self.cells):
                y = states[i] = cell(y, states[i])
            total = total + there[:, t] * y
        return total / there.sum(1)


def build(card: ModelCard) -> MISRGRU:
    """The untrained net of a card."""
    return MISRGRU(len(card.bands), card.scale, **card.options)


# The reach is that of 24 frames: 6 pixels of each encoder, 3 of the layers' first step, 2 of
# every step more.
# Published: 400 epochs as HighRes-net, the images aligned by its ShiftNet while it is trained.
DESIGNS = (
    Design("misr-gru", "misr", "misr-gru", build, {2: 61, 3: 61, 4: 61}, 3,
           "Rifat Arefin et al., CVPR workshops 2020", frames=24, fewer=True,
           options={"features": 64, "blocks": 2, "layers": 2},
           recipe=Recipe(patch=12, batch_size=2),
           paper=Recipe("registered", 64, 16, 26_000, "adam", 7e-4, schedule="plateau", period=2,
                        gamma=0.97, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
