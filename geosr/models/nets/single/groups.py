"""Groups of neighbouring bands: what nets for cubes of many bands take in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def groups(bands: int, size: int, overlap: int = 0) -> list[slice]:
    """Groups of `size` bands in their order, neighbours having `overlap` of them in common.

    The last one is shifted back where it would reach beyond the bands; of fewer bands than `size`
    there is one group.

    Raises:
        ValueError: groups without bands, or that do not get on.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"groups of {size} bands cannot have {overlap} of them in common")
    size = min(size, bands)
    pace = max(size - overlap, 1)
    count = 1 + max(-(-(bands - size) // pace), 0)
    starts = [min(i * pace, bands - size) for i in range(count)]
    return [slice(start, start + size) for start in starts]


def joined(parts: Sequence[Tensor], places: Sequence[slice]) -> Tensor:
    """All bands of what was made of every group, (batch, bands, rows, cols).

    A band that is in several groups is their mean.
    """
    first = parts[0]
    total = first.new_zeros(len(first), places[-1].stop, *first.shape[2:])
    often = first.new_zeros(places[-1].stop)
    for part, place in zip(parts, places, strict=True):
        one = torch.zeros_like(total)
        one[:, place] = part
        total = total + one
        often[place] += 1
    return total / often.view(1, -1, 1, 1)
