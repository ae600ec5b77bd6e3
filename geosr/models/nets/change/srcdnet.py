"""SRCDNet's change detection: how far the features of two dates lie apart, pixel by pixel.

Liu, Shi, Zhang, Zheng, "Super-resolution-based change detection network with stacked attention
module for images with different resolutions", IEEE TGRS 60 (2022). Reference repository:
liumency/SRCDNet. Its generator, which brings the coarser date to the finer grid, is any net for one
image here (`geosr change --model`).

    before ─ ResNet-18 ─ attention at 4 levels ─ 1 × 1 each ─ cat ─ conv ─ 1 × 1 ─ attention ─┐
    after  ─ the same ────────────────────────────────────────────────────────────────────────┴ ‖ ‖

The levels have 1/2, 1/4, 1/8 and 1/8 of the rows and columns: the stem (7 × 7) has stride 1 and is
followed by a pooling, the last level has dilations 2, 4 and 8 instead of a stride. Attention is
CBAM: by channel, from means and maxima over the window, then by place. The distance is learnt to be
0 where nothing changed and 2 at least where something did; it comes out halved and cut at 1, so a
change is above 0.5. Published are 64 features; 16 are a quarter of the width everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.models.card import Input, ModelCard
from geosr.models.design import Design, Recipe

BEFORE, AFTER, CHANGE = "before:", "after:", "change"
THRESHOLD = 0.5
_RATIO = 8  # of channels to those of the attention's inner layer
_DEEPEST = 8  # pixels along one of the deepest level


class Attention(nn.Module):
    """CBAM: channels, then places, each times what their mean and their largest value say."""

    def __init__(self, features: int) -> None:
        super().__init__()
        inner = max(features // _RATIO, 1)
        self.channels = nn.Sequential(
            nn.Conv2d(features, inner, 1, bias=False), nn.ReLU(),
            nn.Conv2d(inner, features, 1, bias=False),
        )  # fmt: skip
        self.places = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, most = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channels(mean) + self.channels(most))
        over = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.places(over))


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, narrow: int, wide: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(narrow, wide, 3, stride, dilation), nn.ReLU(), _conv(wide, wide, 3, 1, dilation)
        )
        self.skip = _conv(narrow, wide, 1, stride) if narrow != wide else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def _conv(
    narrow: int, wide: int, size: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:  # fmt: skip
    """A convolution without bias, and a batch norm."""
    beyond = size // 2 * dilation
    conv = nn.Conv2d(narrow, wide, size, stride, beyond, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wide))


class SRCDNet(nn.Module):
    """Maps (batch, 2 · bands, rows, cols), first before, then after, to (batch, 1, rows, cols)."""

    def __init__(self, bands: int, *, features: int = 16) -> None:
        super().__init__()
        self.bands, f = bands, features
        self.stem = nn.Sequential(_conv(bands, f, 7), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.levels = nn.ModuleList([
            nn.Sequential(Block(f, f), Block(f, f)),
            nn.Sequential(Block(f, 2 * f, stride=2), Block(2 * f, 2 * f)),
            nn.Sequential(Block(2 * f, 4 * f, stride=2), Block(4 * f, 4 * f)),
            nn.Sequential(Block(4 * f, 8 * f, dilation=2), Block(8 * f, 8 * f, dilation=4),
                          Block(8 * f, 8 * f, dilation=8)),
        ])  # fmt: skip
        widths, each = (f, 2 * f, 4 * f, 8 * f), 3 * f // 2
        self.attention = nn.ModuleList(Attention(wide) for wide in widths)
        self.narrowed = nn.ModuleList(
            nn.Sequential(_conv(wide, each, 1), nn.ReLU()) for wide in widths
        )
        self.joined = nn.Sequential(
            _conv(4 * each, 4 * f, 3), nn.ReLU(), nn.Dropout(0.5), _conv(4 * f, f, 1), nn.ReLU(),
            Attention(f),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        x = F.pad(x, (0, -cols % _DEEPEST, 0, -rows % _DEEPEST), mode="replicate")
        both = torch.cat(torch.split(2 * x - 1, self.bands, 1))  # batch norms see both dates
        before, after = self.described(both).chunk(2)
        apart = before - after
        distance = (apart.float().square().sum(1, keepdim=True) + 1e-12).sqrt()
        distance = F.interpolate(distance, scale_factor=2, mode="bicubic", align_corners=False)
        return (distance / 2).clamp(0, 1)[..., :rows, :cols]

    def described(self, image: Tensor) -> Tensor:
        """(batch, features, rows / 2, cols / 2) of one date."""
        found: list[Tensor] = []
        x = self.stem(image)
        for level, attention, narrowed in zip(
            self.levels, self.attention, self.narrowed, strict=True
        ):
            x = level(x)
            kept: Tensor = narrowed(attention(x))
            size = found[0].shape[2:] if found else kept.shape[2:]
            found.append(F.interpolate(kept, size=size, mode="bilinear", align_corners=True))
        described: Tensor = self.joined(torch.cat(found, 1))
        return described


def build(card: ModelCard) -> SRCDNet:
    """The net of a card."""
    return SRCDNet(len(card.inputs[0].bands) // 2, **card.options)


def named(bands: Sequence[str]) -> tuple[str, ...]:
    """The names of a net's inputs: the bands of both dates."""
    return (*(BEFORE + name for name in bands), *(AFTER + name for name in bands))


@dataclass(frozen=True)
class _Siamese(Design):
    """The design of a net for two dates of as many bands as one says."""

    def card(self, *, scale: float | None = None, bands: int = 1, **options: Any) -> ModelCard:
        """The card for images of `bands` bands.

        Raises:
            UsageError: a scale is asked for.
        """
        if scale not in (None, 1):
            raise UsageError(
                f"'{self.name}' compares images of one grid, at no scale. Leave --scale out."
            )
        inputs = (Input(1, named([str(i + 1) for i in range(bands)])),)
        return ModelCard(
            self.name, self.arch, "any", inputs, Input(1, (CHANGE,)), 1, self.reach[1],
            options={**self.options, **options}, source=self.source, task=self.task,
            blend=self.blend,
        )  # fmt: skip


# Published: Adam 1e-4, 100 epochs of batches of 8, 256 pixels a side.
DESIGNS = (
    _Siamese("srcdnet", "change", "srcdnet", build, {1: 32}, 1, "Liu et al., IEEE TGRS 60 (2022)",
             blend=16, options={"features": 16},
             recipe=Recipe("contrastive", patch=96, batch_size=4, steps=2000, optimizer="adam",
                           lr=1e-3, warmup=50, ema=0.0, jitter=0.1),
             paper=Recipe("contrastive", patch=256, batch_size=8, steps=50_000, optimizer="adam",
                          lr=1e-4, warmup=0, ema=0.0)),
)  # fmt: skip
