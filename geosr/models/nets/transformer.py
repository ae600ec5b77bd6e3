"""Attention between the items of a sequence, and a transformer's layer of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PART = 4096  # pixels at a time


class Attention(nn.Module):
    """Attention of the items of a sequence, (sequences, items, features), to each other.

    Args:
        inner: features of all heads together; None are those of an item.
        scale: of the scores; None is one over the root of a head's features.
    """

    def __init__(
        self, features: int, heads: int, *, inner: int | None = None, bias: bool = True,
        scale: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        inner = inner or features
        self.qkv = nn.Linear(features, 3 * inner, bias=bias)
        self.out = nn.Linear(inner, features)
        self.heads = heads
        self.scale = scale

    def forward(
        self, x: Tensor, seen: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """`seen` (sequences, items) is True for items that are looked at.

        `memory` (sequences, other items, features) is looked at in place of the items themselves.
        """
        q, k, v = (self._of_heads(part) for part in self._parts(x, memory))
        mask = None if seen is None else seen[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))

    def _parts(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, ...]:
        if memory is None:
            return self.qkv(x).chunk(3, -1)
        of_all = (self.qkv.weight, *(() if self.qkv.bias is None else (self.qkv.bias,)))
        each = zip(*(numbers.chunk(3) for numbers in of_all), strict=True)
        return tuple(
            F.linear(to, *part) for to, part in zip((x, memory, memory), each, strict=True)
        )

    def _of_heads(self, x: Tensor) -> Tensor:
        """(sequences, heads, items, features / heads)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def in_parts(call: Callable[..., Tensor], *pixels: Tensor) -> Tensor:
    """What `call` makes of pixels, some thousand at a time.

    Sequences of a whole window are large, and kernels of CUDA take 65,535 at most.
    """
    starts = range(0, len(pixels[0]), _PART)
    return torch.cat([call(*(x[i : i + _PART] for x in pixels)) for i in starts])


def perceptron(features: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """Norm and two linear layers for every item by itself."""
    return nn.Sequential(
        nn.LayerNorm(features),
        nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout),
        nn.Linear(hidden, features), nn.Dropout(dropout),
    )  # fmt: skip


class Layer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); scores by the root of all an item's features.

    Args:
        inner: as for `Attention`.
    """

    def __init__(
        self, features: int, heads: int, hidden: int, dropout: float = 0.0,
        *, inner: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = nn.LayerNorm(features)
        self.attention = Attention(features, heads, inner=inner, bias=False, scale=features**-0.5)
        self.drop = nn.Dropout(dropout)
        self.mlp = perceptron(features, hidden, dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        x = x + self.drop(self.attention(self.first(x), seen))
        return x + self.mlp(x)
