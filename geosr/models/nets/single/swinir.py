"""SwinIR-light: self-attention in windows of 8 × 8 that shift, then sub-pixel convolution.

Liang, Cao, Sun, Zhang, Van Gool, Timofte, "SwinIR: image restoration using Swin transformer", ICCV
workshops 2021. Reference repository: JingyunLiang/SwinIR.

    image − mean ─ conv ─┬─ norm ─ 4 × [block] ─ norm ─ conv ─ + ─ conv ─ pixel shuffle s ─ + mean
                         └─────────────────────────────────────┘
    block:  ┬─ 6 × [layer] ─ conv ─ + ─
            └───────────────────────┘
    layer:  ┬─ norm ─ attention ─ + ─┬─ norm ─ linear ×2 GELU ─ linear ─ + ─
            └─────────────────────┘  └───────────────────────────────────┘

Convolutions are 3 × 3 with zero padding; "norm" is a LayerNorm over the features. Every second
layer's windows lie 4 pixels off: the image is rolled, and pixels that only rolling has brought
together do not see each other. Images are mirrored at their end to whole windows, or their last
row and column repeated where they are too small for that. Paths are not dropped in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import Design, ModelCard, Recipe
from geosr.models.nets.single.edsr import RGB_MEAN

WINDOW = 8
_PIXELS = WINDOW**2
_SPAN = 2 * WINDOW - 1  # offsets between two pixels of a window, along one axis
_APART = -100.0  # added to the scores of pixels that do not see each other


class _Attention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for every offset."""

    index: Tensor

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = _linear(features, 3 * features)
        self.project = _linear(features, features)
        self.table = nn.Parameter(torch.empty(_SPAN**2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", _offsets(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (batch, windows, 64, features); mask (windows, 1, 64, 64), added to the scores."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = parts.unbind()  # each (batch, windows, heads, 64, features / heads)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT + self.table[self.index].permute(2, 0, 1)
        if mask is not None:
            scores = scores + mask  # (batch, windows, heads, 64, 64)
        seen = scores.softmax(-1).to(v.dtype) @ v
        return self.project(seen.transpose(2, 3).flatten(-2))  # (batch, windows, 64, features)


class _Layer(nn.Module):
    """Attention in windows that lie `shift` pixels off, then a perceptron per pixel."""

    def __init__(self, features: int, heads: int, ratio: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = _Attention(features, heads)
        self.mlp = nn.Sequential(
            _linear(features, ratio * features), nn.GELU(), _linear(ratio * features, features)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, rows, cols, features), whole windows."""
        x = x + self._attend(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, cols = x.shape[1:3]
        if not self.shift:
            return _joined(self.attention(_windows(x), None), rows, cols)
        x = x.roll((-self.shift, -self.shift), (1, 2))
        x = _joined(self.attention(_windows(x), mask), rows, cols)
        return x.roll((self.shift, self.shift), (1, 2))


class _Block(nn.Module):
    """x + conv of a chain of layers, every second one's windows shifted by half."""

    def __init__(self, features: int, layers: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Layer(features, heads, ratio, WINDOW // 2 * (i % 2)) for i in range(layers)
        )
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y, mask)
        return x + _convolved(self.conv, y)


class SwinIR(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: a multiple of `heads`.
        layers: in each block.
        ratio: how many times wider than the features the perceptrons are inside.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 60, blocks: int = 4, layers: int = 6,
        heads: int = 6, ratio: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        mean = RGB_MEAN if bands == 3 else (sum(RGB_MEAN) / 3,) * bands
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.scale = scale
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.norm_in, self.norm_out = nn.LayerNorm(features), nn.LayerNorm(features)
        self.body = nn.ModuleList(_Block(features, layers, heads, ratio) for _ in range(blocks))
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.tail = nn.Conv2d(features, bands * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        x = self.head(_whole(x - self.mean))  # (batch, features, whole rows, whole cols)
        x = self.tail(x + self._deep(x))  # (batch, bands·s², whole rows, whole cols)
        image = F.pixel_shuffle(x, self.scale)[..., : self.scale * rows, : self.scale * cols]
        return image + self.mean

    def _deep(self, x: Tensor) -> Tensor:
        mask = _mask(*x.shape[-2:]).to(x)
        y = self.norm_in(x.permute(0, 2, 3, 1))  # (batch, rows, cols, features)
        for block in self.body:
            y = block(y, mask)
        return self.conv(self.norm_out(y).permute(0, 3, 1, 2))


def _linear(narrow: int, wide: int) -> nn.Linear:
    linear = nn.Linear(narrow, wide)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def _convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of (batch, rows, cols, features)."""
    out: Tensor = conv(x.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


def _offsets() -> Tensor:
    """Row of the bias table for every two pixels of a window, (64, 64)."""
    at = torch.arange(_PIXELS)
    rows, cols = at // WINDOW, at % WINDOW
    down, right = rows[:, None] - rows, cols[:, None] - cols  # from -7 to 7
    return (down + WINDOW - 1) * _SPAN + right + WINDOW - 1


def _windows(x: Tensor) -> Tensor:
    """(batch, rows, cols, features) to (batch, windows, 64, features)."""
    batch, rows, cols, features = x.shape
    x = x.reshape(batch, rows // WINDOW, WINDOW, cols // WINDOW, WINDOW, features)
    return x.transpose(2, 3).reshape(batch, -1, _PIXELS, features)


def _joined(x: Tensor, rows: int, cols: int) -> Tensor:
    """(batch, windows, 64, features) back to (batch, rows, cols, features)."""
    batch, features = x.shape[0], x.shape[-1]
    x = x.reshape(batch, rows // WINDOW, cols // WINDOW, WINDOW, WINDOW, features)
    return x.transpose(2, 3).reshape(batch, rows, cols, features)


def _mask(rows: int, cols: int) -> Tensor:
    """What keeps apart the parts of windows rolled by half, (windows, 1, 64, 64)."""
    labels = 2 * _wrapped(rows)[:, None] + _wrapped(cols)  # (rows, cols)
    inside = _windows(labels[None, :, :, None])[0, :, :, 0]  # (windows, 64)
    apart = inside[:, :, None] != inside[:, None, :]
    return (apart * _APART).unsqueeze(1)


def _wrapped(side: int) -> Tensor:
    """1 for the pixels that rolling takes from the image's start to its end."""
    return (torch.arange(side) >= side - WINDOW // 2).long()


def _whole(x: Tensor) -> Tensor:
    """Rows and columns added at the end until there are whole windows."""
    down, right = (-side % WINDOW for side in x.shape[-2:])
    x = F.pad(x, (0, 0, 0, down), "reflect" if down < x.shape[-2] else "replicate")
    return F.pad(x, (0, right, 0, 0), "reflect" if right < x.shape[-1] else "replicate")


def build(card: ModelCard) -> SwinIR:
    """The untrained net of a card."""
    return SwinIR(len(card.bands), card.scale, **card.options)


# 24 layers of windows see further than tiles can afford to read around their core (96 pixels at
# most), and where the windows lie hangs on where the tile starts: tiles blend, and read this much.
# Published: the rate is halved after 250, 400, 450 and 475 thousand steps, not at a fixed period.
DESIGNS = (
    Design("swinir-light", "sisr", "swinir", build, {2: 32, 3: 32, 4: 32, 8: 32}, 2,
           "Liang et al., ICCV workshops 2021", blend=8,
           options={"features": 60, "blocks": 4, "layers": 6, "heads": 6, "ratio": 2},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("l1", 64, 64, 500_000, "adam", 2e-4, schedule="step", period=125_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
