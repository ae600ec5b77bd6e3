"""Losses: means over valid pixels, never over masked ones."""

from __future__ import annotations

from torch import Tensor


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error where `mask` is True; 0 where nothing is valid."""
    error = (prediction - target).abs() * mask
    return error.sum() / mask.sum().clamp(min=1)
