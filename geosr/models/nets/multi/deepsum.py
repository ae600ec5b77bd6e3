"""DeepSUM: frames enlarged, their features moved by filters of their own, then fused in 3-D.

Molini, Valsesia, Fracastoro, Magli, "DeepSUM: deep neural network for super-resolution of
unregistered multitemporal images", IEEE Trans. Geosci. Remote Sens. 58 (2020). Reference
repository: diegovalsesia/deepsum.

    T frames ─ bicubic ×s ─┬─ 8 × [conv norm LReLU] ─┬─ filter, fill ─ fuse ─ conv 1 ─ +
                           │            beside the first: 5 × conv ─ mean ─ softmax    │
                           └──────────────────────── filter, fill ─ mean ──────────────┘

    filter  9 × 9 weights of a frame, for all its features and for itself; the first has none
    fill    where a frame is not clear, the first frame that is clear there
    fuse    (T−1)/2 × [3 × 3 × 3 conv norm LReLU], none of them padded in time: T frames become one

Images are mirrored at their edges before each convolution but those of the filters, which are
zero-padded. "norm" takes a feature's mean and deviation over a frame's window, or all frames'.
Values are normalised inside the net; the mean and deviation are Proba-V's NIR ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.padding import Mirror, mirrored

MEAN, STD = 7754.664 / 65535, 2316.3408 / 65535  # of Proba-V's 16-bit NIR images, in unit values
_FILTER = 9  # side of the filter that a frame gets
_EPS = 1e-3  # of the norms


class _Norm(nn.GroupNorm):
    """Instance norm with weights, also of a single value."""

    def __init__(self, features: int) -> None:
        super().__init__(features, features, eps=_EPS)


def _features(narrow: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        Mirror(), nn.Conv2d(narrow, features, 3), _Norm(features), nn.LeakyReLU(0.2)
    )


def _fusion(features: int) -> nn.Sequential:
    """Two frames fewer, the window as large as before."""
    return nn.Sequential(
        Mirror(), nn.Conv3d(features, features, 3), _Norm(features), nn.LeakyReLU(0.2)
    )


class _Register(nn.Module):
    """The filter that brings a frame onto the first, (batch · frames, 81)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(features, 2 * features, (2, 3, 3), padding=(0, 1, 1))
        self.rest = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Conv2d(2 * features, features, 3, padding=1),
            nn.LeakyReLU(0.2), nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.2), nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.2), nn.Conv2d(features, _FILTER**2, 3, padding=1),
        )  # fmt: skip

    def forward(self, frames: Tensor, reference: Tensor) -> Tensor:
        """Each (batch · frames, features, rows, cols)."""
        both = self.first(torch.stack([frames, reference], 2)).squeeze(2)
        return self.rest(both).mean((2, 3)).softmax(1)


class DeepSUM(nn.Module):
    """The net; unit values in and out.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). It takes exactly the number of
    frames that it was built for, odd and at least 3; the first is the one others are moved onto.

    Raises:
        UsageError: an even number of frames, or one frame.
    """

    def __init__(
        self, bands: int, scale: int, frames: int = 9, *, features: int = 64, blocks: int = 8
    ) -> None:
        super().__init__()
        if frames < 3 or frames % 2 == 0:
            raise UsageError(f"deepsum takes an odd number of images from 3 on, not {frames}")
        self.scale, self.frames = scale, frames
        self.encoder = nn.Sequential(
            *(_features(features if i else bands, features) for i in range(blocks))
        )
        self.register = _Register(features)
        self.fuse = nn.Sequential(*(_fusion(features) for _ in range((frames - 1) // 2)))
        self.tail = nn.Conv2d(features, bands, 1)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        batch, count = frames.shape[:2]
        if count != self.frames:
            raise ValueError(f"deepsum was built for {self.frames} images, got {count}")
        x = (frames.flatten(0, 1) - MEAN) / STD
        x = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        seen = torch.cat([x, self.encoder(x)], 1)  # (batch · frames, bands + features, …)
        seen = self._moved(seen.view(batch, count, *seen.shape[1:]), bands := x.shape[1])
        fine = clear.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)
        seen = mended(seen, fine)
        images, features = seen[:, :, :bands], seen[:, :, bands:]
        y = self.fuse(features.transpose(1, 2)).squeeze(2)  # (batch, features, s·rows, s·cols)
        return (images.mean(1) + self.tail(y)) * STD + MEAN

    def _moved(self, seen: Tensor, bands: int) -> Tensor:
        """Frames but the first under their filters; (batch, frames, bands + features, …)."""
        others, first = seen[:, 1:], seen[:, :1]
        reference = first.expand_as(others).flatten(0, 1)[:, bands:]
        others = others.flatten(0, 1)
        filters = self.register(others[:, bands:], reference).view(-1, 1, _FILTER, _FILTER)
        turned = mirrored(others, _FILTER // 2).transpose(0, 1)
        moved = F.conv2d(turned, filters.to(turned.dtype), groups=len(others)).transpose(0, 1)
        return torch.cat([first, moved.reshape(len(seen), -1, *seen.shape[2:])], 1)


def build(card: ModelCard) -> DeepSUM:
    """The untrained net of a card, for its number of frames."""
    return DeepSUM(len(card.bands), card.scale, card.frames, **card.options)


# Norms and filters come from the whole window: tiles blend, over twice the ramp of other nets, as a
# norm of every layer makes them differ more. The convolutions see 16 fine pixels. Published: the
# parts trained one after the other, then all at 5e-6; geosr trains them together.
DESIGNS = (
    Design("deepsum", "misr", "deepsum", build, {2: 16, 3: 16, 4: 16}, 3,
           "Molini et al., IEEE TGRS 58 (2020)", frames=9, blend=16,
           options={"features": 64, "blocks": 8},
           recipe=Recipe(patch=12, batch_size=2),
           paper=Recipe("registered", 32, 8, 200_000, "adam", 5e-6, schedule="constant", warmup=0,
                        clip=0.0, ema=0.0)),
)  # fmt: skip
