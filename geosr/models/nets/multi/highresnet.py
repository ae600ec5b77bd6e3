"""HighRes-net: frames encoded beside their median, then fused two by two until one is left.

Deudon, Kalaitzis, Goytom, Arefin, Lin, Sankaran, Michalski, Kahou, Cornebise, Bengio,
"HighRes-net: Recursive fusion for multi-frame super-resolution of satellite imagery", 2020
(arXiv 2002.06460). Reference repository: ServiceNow/HighRes-net. Its ShiftNet, which aligns
images while it is trained, is not part of the net.

    frame 1 ─┐                                      ┌─ 1 ─┐
       ⋮     ├─ each beside the median ─ encoder ─ ─┤  ⋮  ├─ log₂ T × [pairs fused] ─ decoder
    frame T ─┘                                      └─ T ─┘

    encoder   conv PReLU ─ 2 × [conv PReLU conv PReLU +] ─ conv
    pair      a + α_b · (concat(a, b) ─ [conv PReLU conv PReLU +] ─ conv PReLU)
    decoder   transposed conv s × s, stride s, PReLU ─ conv 1 × 1

Convolutions are 3 × 3 with zero padding. α is 0 for frames that are absent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import (
    anchor,
    beside_anchor,
    decoder,
    encoder,
    fused_in_pairs,
    layer,
    present,
    residual,
)


class HighResNet(nn.Module):
    """The net; unit values in and out, any number of frames, clearest first.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). A frame with no clear pixel in the
    whole window is absent: the result is that of the other frames.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.encoder = encoder(2 * bands, features, blocks)
        self.fuse = nn.Sequential(residual(2 * features), *layer(2 * features, features))
        self.decoder = decoder(features, bands, scale)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        x = self.encoder(beside_anchor(frames, anchor(frames, clear)))
        x = x.unflatten(0, frames.shape[:2])
        return self.decoder(fused_in_pairs(x, present(clear), self._fused))

    def _fused(self, near: Tensor, far: Tensor) -> Tensor:
        return self.fuse(torch.cat([near, far], 1))  # of (pairs, 2 · features, rows, cols)


def build(card: ModelCard) -> HighResNet:
    """The untrained net of a card."""
    return HighResNet(len(card.bands), card.scale, **card.options)


# The reach is that of 32 frames: 6 pixels of the encoder, 3 of each of five fusions. Published:
# 400 epochs of about 1040 scenes, the loss −cPSNR after an alignment that ShiftNet learns.
DESIGNS = (
    Design("highres-net", "misr", "highres-net", build, {2: 21, 3: 21, 4: 21}, 3,
           "Deudon et al., 2020 (arXiv 2002.06460)", frames=32, fewer=True,
           options={"features": 64, "blocks": 2},
           recipe=Recipe(patch=12, batch_size=2),
           paper=Recipe("registered", 64, 32, 13_000, "adam", 7e-4, schedule="plateau", period=2,
                        gamma=0.97, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
