"""What nets for frames of a video share: frames without clouds."""

from __future__ import annotations

import torch
from torch import Tensor


def mended(frames: Tensor, clear: Tensor) -> Tensor:
    """Frames whose unclear pixels are those of the nearest frame in time that is clear there.

    Where none is, they stay as they are.

    Args:
        frames: (batch, frames, bands, rows, cols), the nearest in time to the first one first.
        clear: (batch, frames, 1, rows, cols).
    """
    nearest = (clear > 0).int().argmax(1, keepdim=True).expand_as(frames[:, :1])
    there = (clear > 0) | ~(clear > 0).any(1, keepdim=True)
    return torch.where(there, frames, frames.gather(1, nearest))
