"""recursive: frames fused two by two as images, then a net for one image makes that finer.

The fusion of ESAOpenSR/Remote-Sensing-SRGAN (Apache-2.0) for several images, in front of SRResNet.

    frame 1 ─┐
       ⋮     ├─ log₂ T × [pairs fused] ─ SRResNet
    frame T ─┘
    pair     concat(a, b) ─ x + [conv norm PReLU conv norm] ─ conv PReLU

Convolutions are 3 × 3 with zero padding, "norm" a batch norm. Which meets which is HighRes-net's
recursion. The repository first trains the fusion alone to give the frames' mean; here it starts as
that mean. Its SRResNet has batch norms (1,549,462 parameters for RGB × 4); geosr's has none. Nor
does it know masks: here unclear pixels are taken from the first frame that is clear there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import fused_in_pairs, mended, present
from geosr.models.nets.single.srresnet import SRResNet


class Pair(nn.Module):
    """What the second of two images, (pairs, bands, rows, cols), changes in the first."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        both = 2 * bands
        self.residual = nn.Sequential(
            nn.Conv2d(both, both, 3, padding=1), nn.BatchNorm2d(both), nn.PReLU(),
            nn.Conv2d(both, both, 3, padding=1), nn.BatchNorm2d(both),
        )  # fmt: skip
        self.last = nn.Sequential(nn.Conv2d(both, bands, 3, padding=1), nn.PReLU())
        nn.init.zeros_(self.residual[-1].weight)  # type: ignore[arg-type]
        self._start_as_mean(self.last[0])  # type: ignore[arg-type]

    def forward(self, near: Tensor, far: Tensor) -> Tensor:
        both = torch.cat([near, far], 1)  # (pairs, 2 · bands, rows, cols)
        return self.last(both + self.residual(both)) - near

    @staticmethod
    def _start_as_mean(conv: nn.Conv2d) -> None:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        for band in range(conv.out_channels):
            conv.weight.data[band, [band, band + conv.out_channels], 1, 1] = 0.5


class Recursive(nn.Module):
    """The net; unit values in and out, any number of frames, clearest first.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). A frame with no clear pixel in the
    whole window is absent: the result is that of the other frames.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.pair = Pair(bands)
        self.image = SRResNet(bands, scale, features=features, blocks=blocks)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        return self.image(fused_in_pairs(mended(frames, clear), present(clear), self.pair))


def build(card: ModelCard) -> Recursive:
    """The untrained net of a card."""
    return Recursive(len(card.bands), card.scale, **card.options)


# The reach is SRResNet's and that of four frames: 3 pixels of each of two fusions.
DESIGNS = (
    Design("recursive", "misr", "recursive", build, {2: 41, 3: 41, 4: 41}, 4,
           "ESAOpenSR/Remote-Sensing-SRGAN, as a net for several images", frames=4, fewer=True,
           aliases=("srgan-misr",),
           options={"features": 64, "blocks": 16},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("mse", 32, 16, 1_000_000, "adam", 1e-4, schedule="plateau", period=3,
                        gamma=0.25, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
