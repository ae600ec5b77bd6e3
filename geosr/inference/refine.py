"""Refinement of a result by total variation, with the coarse input as a hard bound (TV-TV).

Vella, Mota, "Robust single-image super-resolution via CNNs and TV-TV minimization", IEEE TIP 30
(2021), and for hyperspectral images hs-sr-tvtv. Of all images that the sensor sees as the input `y`
it is the one of

    min TV(x) + TV(x - w)   where D x = y

for the result `w` of any net: few edges, and those where `w` has them. TV sums the absolute
differences of neighbours along rows and columns. Chambolle and Pock's primal-dual method solves it,
band by band, from the projection of `w`; D is as in `consistency`. Both terms share one dual
variable: at an edge of `w` between 0 and its own height they cancel, so nothing pulls there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.inference.consistency import Sensor, sensors

_STEPS = 60
_NORM = 8**0.5  # of the differences along rows and columns, at most
_STEP = 0.1  # of the image, as a share of its deviation

Array = NDArray[np.float32]


def tv_tv(
    estimate: Array, low: Array, taps: Sequence[Sequence[float]], device: str = "cpu"
) -> Array:
    """The image of least variation near `estimate` that degrades to `low`.

    Args:
        estimate: (bands, factor · rows, factor · cols).
        low: (bands, rows, cols) of the same bands.
        taps: by band, of its point spread in pixels of `estimate`.
        device: where it is computed.
    """
    found = []
    for sensor, fine, coarse in sensors(estimate, low, taps):
        there = Sensor(*(torch.as_tensor(getattr(sensor, part.name), device=device)
                         for part in fields(sensor)))  # fmt: skip
        images = (torch.as_tensor(image, device=device) for image in (fine, coarse))
        found.append(_solved(there, *images).cpu().numpy())
    return np.stack(found)


def _solved(sensor: Sensor, estimate: Tensor, low: Tensor) -> Tensor:
    """The same of one band."""
    scale = float(low.std()) * _STEP
    x: Tensor = sensor.project(estimate, low)
    if not scale:
        return x
    primal, dual = scale / _NORM, 1 / (scale * _NORM)
    edges = [dual * each for each in _differences(estimate)]
    bounds = [(each.clamp(max=0), each.clamp(min=0)) for each in edges]
    pulls = [torch.zeros_like(each) for each in edges]
    ahead = x
    for _ in range(_STEPS):
        for pull, step, (least, most) in zip(pulls, _differences(ahead), bounds, strict=True):
            pull.add_(step, alpha=dual)
            pull.sub_(pull.clamp(least, most)).clamp_(-2, 2)
        moved: Tensor = sensor.project(x - primal * _gathered(*pulls), low)
        x, ahead = moved, 2 * moved - x
    return x


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of neighbours down the rows, (rows - 1, cols), and along them, (rows, cols - 1)."""
    return x[1:] - x[:-1], x[:, 1:] - x[:, :-1]


def _gathered(down: Tensor, across: Tensor) -> Tensor:
    """The transpose of `_differences`."""
    x = across.new_zeros(across.shape[0], across.shape[1] + 1)
    x[1:] += down
    x[:-1] -= down
    x[:, 1:] += across
    x[:, :-1] -= across
    return x
