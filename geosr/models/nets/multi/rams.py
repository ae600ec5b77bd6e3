"""RAMS: 3-D convolutions over the frames, whose number shrinks to one; features weigh themselves.

Salvetti, Mazzia, Khaliq, Chiaberge, "Multi-image super resolution of remotely sensed images using
residual attention deep neural networks", Remote Sensing 12 (2020). Reference repository:
EscVM/RAMS.

    T frames ─┬─ pad conv ─┬─ 12 × block ─ conv ─ + ─ 3 × [pad block conv ReLU] ─ conv ─┐
              │            └──────────────────────┘       T frames become 3      s²     │
              └─ as bands of one image ─ block ─ conv s² ────────────────────────────── + ─ shuffle

    block   x + gate · (conv ReLU conv); gate from the means over the window: conv ReLU conv sigmoid

Convolutions are 3 × 3 × 3, or 3 × 3 beside the trunk, with weight norm; zero padding keeps their
size. Those that shrink the frames and the last have none, and the image is mirrored by a pixel
before. Values are normalised inside the net.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.multi.piunet import MEAN, STD
from geosr.models.nets.padding import Mirror


class _Block(nn.Module):
    """x + conv(ReLU(conv(x))), each feature weighted by its means over the window (and frames)."""

    def __init__(
        self, conv: type[nn.Conv2d] | type[nn.Conv3d], features: int, reduction: int
    ) -> None:
        super().__init__()
        squeezed = max(features // reduction, 1)
        self.first = weight_norm(conv(features, features, 3, padding=1))
        self.second = weight_norm(conv(features, features, 3, padding=1))
        self.squeeze = weight_norm(conv(features, squeezed, 1))
        self.excite = weight_norm(conv(squeezed, features, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        mean = y.mean(tuple(range(2, y.dim())), keepdim=True)  # (batch, features, 1, …)
        return x + y * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class RAMS(nn.Module):
    """The net; unit values in and out.

    Maps frames (batch, frames, bands, rows, cols) to (batch, bands, scale · rows, scale · cols).
    It takes exactly the number of frames that it was built for, odd and at least 3, as its
    convolutions shrink them by two each. The design knows no quality masks; unclear pixels are
    taken from the first frame that is clear there before the net sees them.

    Args:
        reduction: how many times fewer features the weighting squeezes them to.

    Raises:
        ValueError: an even number of frames, or one frame.
    """

    def __init__(
        self, bands: int, scale: int, frames: int = 9, *, features: int = 32, blocks: int = 12,
        reduction: int = 8,
    ) -> None:  # fmt: skip
        super().__init__()
        if frames < 3 or frames % 2 == 0:
            raise ValueError(f"rams takes an odd number of images from 3 on, not {frames}")
        self.frames = frames
        self.head = nn.Sequential(Mirror(), conv3d(bands, features))
        self.body = nn.Sequential(
            *(_Block(nn.Conv3d, features, reduction) for _ in range(blocks)),
            conv3d(features, features),
        )
        self.shrink = nn.Sequential(
            *(_shrinker(features, reduction) for _ in range((frames - 3) // 2))
        )
        self.tail = conv3d(features, bands * scale**2, padding=0)
        self.skip = nn.Sequential(
            _Block(nn.Conv2d, bands * frames, reduction),
            weight_norm(nn.Conv2d(bands * frames, bands * scale**2, 3, padding=1)),
        )
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        if frames.shape[1] != self.frames:
            raise ValueError(f"rams was built for {self.frames} images, got {frames.shape[1]}")
        x = (mended(frames, clear) - MEAN) / STD
        y = self.head(x.transpose(1, 2))  # (batch, features, frames, rows + 2, cols + 2)
        y = self.shrink(y + self.body(y))  # (batch, features, 3, rows + 2, cols + 2)
        y = self.tail(y).squeeze(2)  # (batch, s² · bands, rows, cols)
        y = self.shuffle(y + self.skip(x.flatten(1, 2)))
        return y.to(frames.dtype) * STD + MEAN  # low precision stays with the deviation


def conv3d(narrow: int, wide: int, side: int = 3, *, padding: int | None = None) -> nn.Module:
    """With weight norm, and as many values after it as before where `padding` is left out."""
    return weight_norm(
        nn.Conv3d(narrow, wide, side, padding=side // 2 if padding is None else padding)
    )


def _shrinker(features: int, reduction: int) -> nn.Sequential:
    """Two frames fewer, the window as large as before."""
    return nn.Sequential(
        Mirror(), _Block(nn.Conv3d, features, reduction),
        conv3d(features, features, padding=0), nn.ReLU(),
    )  # fmt: skip


def build(card: ModelCard) -> RAMS:
    """The untrained net of a card, for its number of frames."""
    return RAMS(len(card.bands), card.scale, card.frames, **card.options)


# The weights of the features come from means over the whole window, so tiles can only agree by
# blending: the reach is merely what they read around their core. Published: about 100 epochs of
# 400 scenes of a band, 49 windows each.
DESIGNS = (
    Design("rams", "misr", "rams", build, {2: 32, 3: 32, 4: 32}, 3,
           "Salvetti et al., Remote Sensing 12 (2020)", frames=9, blend=8,
           options={"features": 32, "blocks": 12, "reduction": 8},
           recipe=Recipe(patch=12, batch_size=4),
           paper=Recipe("registered", 32, 32, 60_000, "adam", 5e-4, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
