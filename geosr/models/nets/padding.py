"""Pixels beyond an image's edge that nets add themselves: mirrored ones, and up to whole blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mirrored(x: Tensor, reach: int) -> Tensor:
    """(…, rows, cols) with `reach` pixels more on each side, mirrored about the edge pixel.

    Unlike torch's own it takes any number of axes and images smaller than `reach`.
    """
    for axis in (-2, -1):
        x = x.index_select(axis, _folded(x.shape[axis], reach, x.device))
    return x


def _folded(side: int, reach: int, device: torch.device) -> Tensor:
    """Which pixels of a side stand at −reach … side + reach − 1."""
    period = max(2 * side - 2, 1)
    at = torch.arange(-reach, side + reach, device=device).abs() % period
    return torch.where(at < side, at, period - at)


class Mirror(nn.Module):
    """One pixel more on each side, mirrored about the edge pixel; a single one is repeated."""

    def forward(self, x: Tensor) -> Tensor:
        return mirrored(x, 1)


def whole(x: Tensor, multiple: int) -> Tensor:
    """Rows and columns added at the end until there are whole blocks of `multiple`.

    Mirrored, or the last one repeated where the image is too small for that.
    """
    down, right = (-side % multiple for side in x.shape[-2:])
    x = F.pad(x, (0, 0, 0, down), "reflect" if down < x.shape[-2] else "replicate")
    return F.pad(x, (0, right, 0, 0), "reflect" if right < x.shape[-1] else "replicate")
