"""Self-attention in windows that shift: what SwinIR and HAT are made of.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo, "Swin transformer: hierarchical vision transformer using
shifted windows", ICCV 2021.

    block:  ┬─ n × [layer] ─ conv ─ + ─
            └───────────────────────┘
    layer:  ┬─ norm ─ attention ─ + ─┬─ norm ─ linear GELU ─ linear ─ + ─
            └─────────────────────┘  └────────────────────────────────┘

"norm" is a LayerNorm over the features. Every second layer's windows lie half a window off: the
image is rolled, and pixels that only rolling has brought together do not see each other. Images are
mirrored at their end to whole windows, or their last row and column repeated where they are too
small for that.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.nets.padding import whole
from geosr.models.nets.single.edsr import mean_of, upsampler

_APART = -100.0  # added to the scores of pixels that do not see each other


class WindowAttention(nn.Module):
    """Multi-head attention of a window's pixels, with a learned bias for every offset.

    Args:
        window: side of the windows that look.
        keys: side of what they look at, around them; more than `window` overlaps, with zeros
            beyond the image.
    """

    index: Tensor

    def __init__(self, features: int, heads: int, window: int, keys: int | None = None) -> None:
        super().__init__()
        self.heads, self.window, self.keys = heads, window, keys or window
        self.qkv = _linear(features, 3 * features)
        self.project = _linear(features, features)
        self.table = nn.Parameter(torch.empty((window + self.keys - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", _offsets(window, self.keys), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (batch, rows, cols, features), whole windows.

        `mask` (windows, 1, pixels, pixels) is added to the scores.
        """
        q, k, v = (self._of_heads(part) for part in self._windows(self.qkv(x)))
        scores = (q * q.shape[-1] ** -0.5) @ k.mT + self.table[self.index].permute(2, 0, 1)
        if mask is not None:
            scores = scores + mask  # (batch, windows, heads, pixels, pixels looked at)
        seen = scores.softmax(-1).to(v.dtype) @ v
        y = self.project(seen.transpose(2, 3).flatten(-2))  # (batch, windows, pixels, features)
        return _joined(y, x.shape[1], x.shape[2], self.window)

    def _windows(self, qkv: Tensor) -> tuple[Tensor, ...]:
        if self.keys == self.window:
            return _windows(qkv, self.window).chunk(3, -1)
        features = qkv.shape[-1] // 3
        around = qkv[..., features:].permute(0, 3, 1, 2)  # (batch, 2 · features, rows, cols)
        side, beyond = self.keys, (self.keys - self.window) // 2
        around = F.unfold(around, side, padding=beyond, stride=self.window)
        around = around.view(len(qkv), 2 * features, side**2, -1)
        q = _windows(qkv[..., :features], self.window)
        return q, *around.permute(0, 3, 2, 1).chunk(2, -1)

    def _of_heads(self, x: Tensor) -> Tensor:
        """(batch, windows, heads, pixels, features / heads)."""
        return x.reshape(*x.shape[:3], self.heads, -1).transpose(2, 3)


class Layer(nn.Module):
    """Attention in windows that lie `shift` pixels off, then a perceptron per pixel.

    Args:
        ratio: how many times wider than the features the perceptron is inside.
        keys: as for `WindowAttention`.
        beside: what else makes something of the normalised features, (batch, features, rows,
            cols), to be added.
    """

    def __init__(
        self, features: int, heads: int, ratio: int, window: int, *, shift: int = 0,
        keys: int | None = None, beside: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = WindowAttention(features, heads, window, keys)
        self.beside = beside
        self.mlp = nn.Sequential(
            _linear(features, ratio * features), nn.GELU(), _linear(ratio * features, features)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, rows, cols, features), whole windows."""
        normed = self.norm1(x)
        x = x + self._attend(normed, mask)
        if self.beside is not None:
            x = x + _convolved(self.beside, normed)
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        if not self.shift:
            return self.attention(x)
        x = self.attention(x.roll((-self.shift, -self.shift), (1, 2)), mask)
        return x.roll((self.shift, self.shift), (1, 2))


class Block(nn.Module):
    """x + conv of a chain of layers."""

    def __init__(self, features: int, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y, mask)
        return x + _convolved(self.conv, y)


class WindowNet(nn.Module):
    """A net of such blocks between convolutions; unit values in and out.

    Maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols).

    Args:
        wide: features while the image is enlarged; 0 enlarges by one convolution and pixel shuffle.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, blocks: Iterable[Block], *, features: int, window: int,
        wide: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        self.scale, self.window = scale, window
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.norm_in, self.norm_out = nn.LayerNorm(features), nn.LayerNorm(features)
        self.body = nn.ModuleList(blocks)
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        if wide:
            self.tail: nn.Module = nn.Sequential(
                nn.Conv2d(features, wide, 3, padding=1), nn.LeakyReLU(),
                upsampler(wide, scale), nn.Conv2d(wide, bands, 3, padding=1),
            )  # fmt: skip
        else:
            self.tail = nn.Conv2d(features, bands * scale**2, 3, padding=1)
        self.last = nn.Identity() if wide else nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        x = self.head(whole(x - self.mean, self.window))  # (batch, features, whole rows and cols)
        image = self.last(self.tail(x + self._deep(x)))
        return image[..., : self.scale * rows, : self.scale * cols] + self.mean

    def _deep(self, x: Tensor) -> Tensor:
        mask = _mask(x.shape[2], x.shape[3], self.window).to(x)
        y = self.norm_in(x.permute(0, 2, 3, 1))  # (batch, rows, cols, features)
        for block in self.body:
            y = block(y, mask)
        return self.conv(self.norm_out(y).permute(0, 3, 1, 2))


def _linear(narrow: int, wide: int) -> nn.Linear:
    linear = nn.Linear(narrow, wide)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def _convolved(conv: nn.Module, x: Tensor) -> Tensor:
    """What convolutions make of (batch, rows, cols, features)."""
    out: Tensor = conv(x.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


def _offsets(window: int, keys: int) -> Tensor:
    """Row of the bias table for every pixel that looks and every one looked at."""
    looks, at = torch.arange(window**2), torch.arange(keys**2)
    down = (looks // window)[:, None] - at // keys + keys - 1  # from 0
    right = (looks % window)[:, None] - at % keys + keys - 1
    return down * (window + keys - 1) + right


def _windows(x: Tensor, window: int) -> Tensor:
    """(batch, rows, cols, features) to (batch, windows, window², features)."""
    batch, rows, cols, features = x.shape
    x = x.reshape(batch, rows // window, window, cols // window, window, features)
    return x.transpose(2, 3).reshape(batch, -1, window**2, features)


def _joined(x: Tensor, rows: int, cols: int, window: int) -> Tensor:
    """(batch, windows, window², features) back to (batch, rows, cols, features)."""
    batch, features = x.shape[0], x.shape[-1]
    x = x.reshape(batch, rows // window, cols // window, window, window, features)
    return x.transpose(2, 3).reshape(batch, rows, cols, features)


def _mask(rows: int, cols: int, window: int) -> Tensor:
    """What keeps apart the parts of windows rolled by half, (windows, 1, window², window²)."""
    labels = 2 * _wrapped(rows, window)[:, None] + _wrapped(cols, window)  # (rows, cols)
    inside = _windows(labels[None, :, :, None], window)[0, :, :, 0]  # (windows, window²)
    apart = inside[:, :, None] != inside[:, None, :]
    return (apart * _APART).unsqueeze(1)


def _wrapped(side: int, window: int) -> Tensor:
    """1 for the pixels that rolling takes from the image's start to its end."""
    return (torch.arange(side) >= side - window // 2).long()
