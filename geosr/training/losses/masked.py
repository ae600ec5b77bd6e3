"""What losses share: pixels that do not count, and patches that are too small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from geosr.errors import UsageError


def clean(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both in at least single precision and 0 where masked; the mask for every band."""
    kind = torch.promote_types(prediction.dtype, torch.float32)
    valid = mask.expand_as(target)
    return (
        torch.where(valid, prediction.to(kind), 0),
        torch.where(valid, target.to(kind), 0),
        valid,
    )


def count(valid: Tensor, like: Tensor) -> Tensor:
    return valid.sum().to(like.dtype)


def require_side(image: Tensor, side: int, name: str) -> None:
    rows, cols = image.shape[-2:]
    if min(rows, cols) < side:
        raise UsageError(
            f"loss '{name}' needs patches of at least {side} × {side} output pixels, found "
            f"{rows} × {cols}. Raise the patch size, or choose another loss."
        )


def coarser(target: Tensor, mask: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Target and mask at the size of a level: means, valid where all that they cover is."""
    size = like.shape[-2:]
    valid = mask.expand_as(target)
    mean = F.interpolate(torch.where(valid, target, 0), size=size, mode="area")
    return mean, F.adaptive_max_pool2d((~valid).float(), size) == 0
