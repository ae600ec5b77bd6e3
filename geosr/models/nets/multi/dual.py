"""dual-edsr: two images of one place to one finer image; features fused, then residual blocks.

An EDSR-like body behind two heads that share no weights. Reference repository:
vnayakde/Dual-Image-Super-Resolution-for-High-Resolution-Optical-Satellite-Imagery.

    image 1 ─ conv ReLU ─┐
                         ├─ fusion ─ n × [conv ReLU conv +] ─ conv, pixel shuffle s ─ conv
    image 2 ─ conv ReLU ─┘

No batch normalisation, no residual scaling, no skip over the body. Fusion is "concat" (1 × 1
convolution and ReLU, the published one), "mean", or "attention" (a weight per pixel and image
from a 1 × 1 convolution, softmax over the images).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.single.edsr import Residual

FUSIONS = ("concat", "mean", "attention")


class DualEDSR(nn.Module):
    """The net; unit values in and out.

    Maps frames (batch, 2, bands, rows, cols) to (batch, bands, scale · rows, scale · cols).
    The design knows no quality masks; pixels where one image alone is clear are taken from it in
    both before the net sees them.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 8, fusion: str = "concat"
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise UsageError(f"unknown fusion '{fusion}' (known: {', '.join(FUSIONS)}).")
        self.heads = nn.ModuleList(nn.Conv2d(bands, features, 3, padding=1) for _ in range(2))
        self.fusion = fusion
        if fusion == "concat":
            self.fuse: nn.Module = nn.Conv2d(2 * features, features, 1)
        elif fusion == "attention":
            self.fuse = nn.Conv2d(2 * features, 2, 1)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.up = nn.Conv2d(features, features * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        if frames.shape[1] != 2:
            raise ValueError(f"dual-edsr takes 2 images, got {frames.shape[1]}")
        frames = mended(frames, clear)
        seen = [F.relu(head(frames[:, t])) for t, head in enumerate(self.heads)]
        x = self.body(self._fused(seen))
        return self.tail(self.shuffle(self.up(x)))  # (batch, bands, s·rows, s·cols)

    def _fused(self, seen: list[Tensor]) -> Tensor:
        if self.fusion == "mean":
            return (seen[0] + seen[1]) / 2
        both = torch.cat(seen, 1)  # (batch, 2 · features, rows, cols)
        if self.fusion == "concat":
            return F.relu(self.fuse(both))
        share = self.fuse(both).softmax(1)  # (batch, 2, rows, cols)
        return seen[0] * share[:, :1] + seen[1] * share[:, 1:]


def build(card: ModelCard) -> DualEDSR:
    """The untrained net of a card."""
    return DualEDSR(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("dual-edsr", "misr", "dual-edsr", build, {2: 19, 3: 19, 4: 19}, 3,
           "vnayakde, Dual-Image-Super-Resolution", frames=2,
           options={"features": 64, "blocks": 8, "fusion": "concat"},
           paper=Recipe("l1", 64, 4, 20_000, "adam", 1e-4, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
