"""PIUnet: frames look at each other at every pixel; the order is of no matter. Gives uncertainty.

Valsesia, Magli, "Permutation invariance and uncertainty in multitemporal image
super-resolution", IEEE Trans. Geosci. Remote Sens. 60 (2022). Reference repository:
diegovalsesia/piunet.

    T frames ─ unit ─┬─ 16 × [unit LReLU unit gate +] ─ unit LReLU ─ + ─ own 5 × 5 filter ─ mean
        │            └───────────────────────────────────────────────┘                       │
        │                         ┌──── conv, pixel shuffle s ────────────────────────────────┤
        └─ bilinear s, mean ───── + ─ μ                                                      │
                                      log b ─ conv 1 × 1 ─ LReLU norm conv ─ bilinear s ─────┘

    unit    conv norm LReLU, + attention over the frames, norm
    gate    mean over frames, rows and cols ─ linear LReLU linear sigmoid, times
    filter  unit LReLU, mean over rows and cols ─ linear: 25 weights per frame, for all features

Convolutions are 3 × 3 with zero padding and work on every frame alike. Values are normalised
inside the net; b is the scale of Laplace's law in unit values.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard, Uncertain
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import averaged
from geosr.models.nets.transformer import Attention, in_parts

MEAN, STD = 7433.6436 / 65535, 2353.0723 / 65535  # of Proba-V's 16-bit images, in unit values
_FILTER = 5  # side of the filter that a frame gets


class _Unit(nn.Module):
    """Convolution, norm, LReLU, + attention over the frames, norm.

    Maps (batch · frames, narrow, rows, cols) to (batch · frames, features, rows, cols).
    """

    def __init__(self, narrow: int, features: int, heads: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, features, 3, padding=1)
        self.first = nn.BatchNorm2d(features)
        self.attention = Attention(features, heads)
        self.second = nn.BatchNorm2d(features)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = F.leaky_relu(self.first(self.conv(x)))
        return self.second(x + self._seen(x, frames))

    def _seen(self, x: Tensor, frames: int) -> Tensor:
        features, rows, cols = x.shape[1:]
        x = x.view(-1, frames, features, rows, cols).permute(0, 3, 4, 1, 2).flatten(0, 2)
        x = in_parts(self.attention, x)  # (batch · rows · cols, frames, features)
        return x.view(-1, rows, cols, frames, features).permute(0, 3, 4, 1, 2).flatten(0, 1)


class _Block(nn.Module):
    """x + two units, each feature weighted by its means over the window and the frames."""

    def __init__(self, features: int, heads: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(features // reduction, 1)
        self.first = _Unit(features, features, heads)
        self.second = _Unit(features, features, heads)
        self.squeeze = nn.Linear(features, squeezed)
        self.excite = nn.Linear(squeezed, features)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        y = self.second(F.leaky_relu(self.first(x, frames)), frames)
        mean = y.unflatten(0, (-1, frames)).mean((1, 3, 4))  # (batch, features)
        gate = self.excite(F.leaky_relu(self.squeeze(mean))).sigmoid()
        return x + y * gate.repeat_interleave(frames, 0)[:, :, None, None]


class _Register(nn.Module):
    """Each frame's features under one filter of its own, not normalised."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.unit = _Unit(features, features, heads)
        self.weigh = nn.Linear(features, _FILTER**2)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        mean = F.leaky_relu(self.unit(x, frames)).mean((2, 3))  # (batch · frames, features)
        filters = self.weigh(mean).view(-1, 1, _FILTER, _FILTER)
        turned = x.transpose(0, 1)  # (features, batch · frames, rows, cols)
        return F.conv2d(turned, filters, padding=_FILTER // 2, groups=len(x)).transpose(0, 1)


class PIUnet(nn.Module):
    """The net; unit values in and out, any number of frames in any order.

    Maps frames (batch, frames, bands, rows, cols) to (batch, bands, scale · rows, scale · cols),
    in training mode with the log of the scale beside. The design knows no quality masks; unclear
    pixels are the mean of the frames that are clear there before the net sees them.

    Args:
        reduction: how many times fewer features a gate squeezes them to.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 42, blocks: int = 16, heads: int = 1,
        reduction: int = 8,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale = scale
        self.head = _Unit(bands, features, heads)
        self.body = nn.ModuleList(_Block(features, heads, reduction) for _ in range(blocks))
        self.end = _Unit(features, features, heads)
        self.register = _Register(features, heads)
        self.mean = nn.Conv2d(features, bands * scale**2, 3, padding=1)
        self.spread = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features),
            nn.LeakyReLU(), nn.Conv2d(features, bands, 1),
        )  # fmt: skip

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor | Uncertain:
        if self.training:
            return self.uncertain(frames, clear)
        x = (averaged(frames, clear) - MEAN) / STD
        return self._mean(x, self._features(x))

    def uncertain(self, frames: Tensor, clear: Tensor) -> Uncertain:
        """The mean and the log of Laplace's scale, as in training."""
        x = (averaged(frames, clear) - MEAN) / STD
        seen = self._features(x)
        return Uncertain(self._mean(x, seen), self.spread(self._raised(seen)) + math.log(STD))

    def _mean(self, x: Tensor, seen: Tensor) -> Tensor:
        """(batch, bands, s·rows, s·cols)."""
        mean = F.pixel_shuffle(self.mean(seen), self.scale) + self._raised(x.mean(1))
        return mean * STD + MEAN

    def _features(self, x: Tensor) -> Tensor:
        """(batch, frames, bands, rows, cols) to (batch, features, rows, cols)."""
        frames = x.shape[1]
        head = self.head(x.flatten(0, 1), frames)  # (batch · frames, features, rows, cols)
        y = head
        for block in self.body:
            y = block(y, frames)
        y = head + F.leaky_relu(self.end(y, frames))
        return self.register(y, frames).unflatten(0, (-1, frames)).mean(1)

    def _raised(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def build(card: ModelCard) -> PIUnet:
    """The untrained net of a card."""
    return PIUnet(len(card.bands), card.scale, **card.options)


# Gates and filters come from means over the whole window, so tiles can only agree by blending:
# the reach is merely what they read around their core. Published: 750 epochs of about 400 scenes,
# 16 windows each, the loss registered.
DESIGNS = (
    Design("piunet", "misr", "piunet", build, {2: 32, 3: 32, 4: 32}, 3,
           "Valsesia and Magli, IEEE TGRS 60 (2022)", frames=9, fewer=True, blend=8,
           options={"features": 42, "blocks": 16, "heads": 1, "reduction": 8},
           recipe=Recipe("laplace-nll", patch=12, batch_size=4),
           paper=Recipe("laplace-nll", 32, 24, 200_000, "adam", 1e-4, schedule="constant",
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
