"""Linear maps between bands: least squares over all training windows, found at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.training.datasets import Sets
from geosr.training.datasets.windows import Windows
from geosr.training.solved import Solved

Array = NDArray[np.float64]


def solve(
    sets: Sets, card: ModelCard, *, seed: int, threads: int = 1,
    progress: Callable[[int, float], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Solved:  # fmt: skip
    """The best linear map with a constant from the bands given to every band asked for.

    Every window side by side counts once; pixels of a band without a truth do not count for it.

    Args:
        progress: called with the number of windows and the mean error in units of 1.0.
        stop: asked after every window; True ends with those that were seen.

    Raises:
        UsageError: too few pixels of a band.
    """
    windows: Windows[Any] = sets.training
    spots = windows.spots(len(windows))
    size, bands = len(card.inputs[0].bands) + 1, len(card.bands)
    gram, right = np.zeros((bands, size, size)), np.zeros((bands, size))
    pixels, found = 0, np.zeros((bands, size))
    for number, spot in enumerate(spots, 1):
        sample = windows.at(spot)
        x = sample.inputs[card.inputs[0].gsd].reshape(size - 1, -1).astype(np.float64) / 1e4
        x = np.concatenate([x, np.ones((1, x.shape[1]))])
        error = 0.0
        for i, (target, mask) in enumerate(zip(sample.target, sample.mask, strict=True)):
            at, y = x[:, mask.ravel()], target[mask].astype(np.float64) / 1e4
            gram[i] += at @ at.T
            right[i] += at @ y
            error += float(np.abs(found[i] @ at - y).sum())
        pixels += int(sample.mask.any(0).sum())
        if number % 64 == 0 or number == len(spots):
            found = _solved(gram, right)
        progress(number, error / max(int(sample.mask.sum()), 1))
        if stop():
            found = _solved(gram, right)
            break
    if (gram[:, -1, -1] < 2 * size).any():
        raise UsageError(
            f"too few pixels of {card.bands[int(gram[:, -1, -1].argmin())]} to find a linear map "
            f"({int(gram[:, -1, -1].min())} of {2 * size}). Give more scenes."
        )
    weight = torch.from_numpy(found[:, :-1]).float()[:, :, None, None]
    tensors = {"linear.weight": weight, "linear.bias": torch.from_numpy(found[:, -1]).float()}
    return Solved(replace(card), tensors, pixels, len(spots), dict(windows.broken))


def _solved(gram: Array, right: Array) -> Array:
    """Coefficients by band, with a ridge that no pixel notices."""
    size = gram.shape[-1]
    ridge = 1e-9 * np.maximum(np.trace(gram, axis1=1, axis2=2), 1e-9)[:, None, None] * np.eye(size)
    return np.asarray(np.linalg.solve(gram + ridge, right[:, :, None])[:, :, 0])
