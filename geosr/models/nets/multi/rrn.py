"""RRN: a light recurrent net for video, that carries features and its last image on.

Isobe, Zhu, Jia, Wang, "Revisiting temporal modeling for video super-resolution", BMVC 2020.
Reference repository: junpan19/RRN, without a licence: facts alone are taken from there.

    frame before, frame ─┐
    state ───────────────┼─ conv ReLU ─ 5 × [conv ReLU conv +] ─┬─ conv ReLU ─ state
    image before, folded ┘                                      └─ conv ─ shuffle s ─ + ─ image
                                                      frame ─ bilinear ───────────────┘

State and image before are zero at first. Published, frames are read as they were taken, and each
comes out once, from those before it. Here a window is read from its ends to its middle, t−2, t+2,
t−1, t+1, t, so that frames after t tell of it too, and the last image is the one that comes out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.single.edsr import Residual

_FRAMES = 5


class RRN(nn.Module):
    """The net; unit values in and out, frames nearest in time to the first one first.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to the first frame, (batch, bands, scale · rows, scale · cols). Unclear pixels are
    taken from the nearest frame in time before the net sees them.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 128, blocks: int = 5) -> None:
        super().__init__()
        self.scale, self.features = scale, features
        cells = bands * scale**2
        self.head = nn.Conv2d(2 * bands + features + cells, features, 3, padding=1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.state = nn.Conv2d(features, features, 3, padding=1)
        self.image = nn.Conv2d(features, cells, 3, padding=1)
        for module in self.modules():  # as published: a tenth of He's deviation
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.weight.data *= 0.1
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        read = mended(frames, clear).flip(1).unbind(1)
        rows, cols = frames.shape[-2:]
        state = frames.new_zeros(len(frames), self.features, rows, cols)
        folded = frames.new_zeros(len(frames), self.image.out_channels, rows, cols)
        for before, frame in pairwise(read):
            x = torch.cat([before, frame, state, folded], 1)
            x = self.body(F.relu(self.head(x)))
            state, residual = F.relu(self.state(x)), self.image(x)
            up = F.interpolate(frame, scale_factor=self.scale, mode="bilinear")
            image = F.pixel_shuffle(residual, self.scale) + up
            folded = F.pixel_unshuffle(image, self.scale)
        return image


def build(card: ModelCard) -> RRN:
    """The untrained net of a card."""
    return RRN(len(card.bands), card.scale, **card.options)


# Every one of four steps sees 12 pixels further. Published: 70 epochs of Vimeo-90K.
DESIGNS = (
    Design("rrn", "misr", "rrn", build, {2: 48, 3: 48, 4: 48}, 4,
           "Isobe et al., BMVC 2020", frames=_FRAMES, video=True,
           options={"features": 128, "blocks": 5},
           recipe=Recipe(patch=24, batch_size=4, lr=2e-4),
           paper=Recipe("l1", 64, 4, 1_130_000, "adam", 1e-4, 5e-4, "step", 970_000, 0.1,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
