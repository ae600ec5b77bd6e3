"""Pixels beyond an image's edge that nets add themselves: mirrored ones, and up to whole blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mirrored(x: Tensor, reach: int) -> Tensor:
    """(…, rows, cols) with `reach` pixels more on each side, mirrored about the edge pixel.

    Unlike torch's own it takes any number of axes, and images smaller than `reach`, of which it
    repeats the last pixel it can mirror.
    """
    for axis in (-2, -1):
        last = x.shape[axis] - 1
        before = [x.narrow(axis, min(i, last), 1) for i in range(reach, 0, -1)]
        after = [x.narrow(axis, max(last - i, 0), 1) for i in range(1, reach + 1)]
        x = torch.cat([*before, x, *after], axis)
    return x


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
